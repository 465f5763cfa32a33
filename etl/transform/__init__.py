"""Transform: an item of a page becomes a record of the unified schema. Pure."""
