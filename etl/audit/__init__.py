"""Checks of a database: what must hold between rows, and between a row and its payload."""
