"""Keeps a local SQL database in step with feature-flag and experimentation providers."""
