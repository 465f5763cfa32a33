"""Rebuild rows and history from stored payloads or from an archive, without the network."""
