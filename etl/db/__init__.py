"""The database: engine, tables, staging, merge, runs, views. Functions on Connections."""
