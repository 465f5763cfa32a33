"""Load: staged rows, checkpoints, and the one transaction that makes a run visible."""
