"""Keeps a local SQL database in step with feature-flag and experimentation providers."""

__version__ = "0.1.0"
