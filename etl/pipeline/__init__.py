"""One run of one source: read its streams, decide on deletions, commit; lease and rate budget."""
