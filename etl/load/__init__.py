"""Load: records are compared with what is stored, staged, and committed once a run."""
