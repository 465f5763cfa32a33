"""The database itself: engine, types, tables, bulk writes, migrations, maintenance."""
