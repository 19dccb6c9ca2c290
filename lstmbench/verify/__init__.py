"""Verifying published results: records against themselves, tables against records."""
