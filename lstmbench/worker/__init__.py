"""The process that trains. Needs the standard library and NumPy only."""
