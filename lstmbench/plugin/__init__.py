"""Hooks, the plugin manager, and what the host registers itself."""
