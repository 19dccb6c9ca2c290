"""Records and where they are kept. Knows nothing of running, reporting or publishing."""
