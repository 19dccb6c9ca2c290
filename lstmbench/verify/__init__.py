"""Verifying what somebody published: records against themselves, tables against records."""
