"""Environments in which workers run instead of the host's: asked for, made, kept and described."""
