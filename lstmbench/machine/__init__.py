"""Sensors: what this machine is and does. They measure and do not judge."""
