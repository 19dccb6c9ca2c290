"""The verbs of the command line, one module each; each registers itself through the hook."""
