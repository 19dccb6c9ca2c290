"""From records to what people read. Nothing here asks a worker anything."""
