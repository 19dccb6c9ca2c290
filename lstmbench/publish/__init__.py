"""Publishing: from records to a store of tables, plots and pages, and back again to verify it."""
