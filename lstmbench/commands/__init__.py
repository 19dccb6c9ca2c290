"""The commands, one module each. Each registers itself through the hook."""
