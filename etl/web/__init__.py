"""The web console: read-only pages over the database, for those who would rather look."""
