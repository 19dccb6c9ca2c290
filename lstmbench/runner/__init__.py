"""From a checked command line to records."""
