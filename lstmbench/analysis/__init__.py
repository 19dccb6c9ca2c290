"""Everything that is computed from records. No input or output."""
