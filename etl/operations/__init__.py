"""What can be asked for: a sync, a backfill, a plan and its application, a check."""
