"""From the name of a text, or its file, to token ids."""
