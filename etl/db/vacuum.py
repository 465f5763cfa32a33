"""Gives back the room that pruned rows took, and tells the planner what is there now."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from etl.db.engine import outside_transactions, schema_of
from etl.db.postgres import quoted
from etl.db.types import metadata


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of the database before and after."""

    before: int
    after: int


def vacuum(engine: Engine) -> Size:
    """Every table of ours is vacuumed and analyzed; no run may be writing meanwhile on SQLite."""
    before = _size(engine)
    with outside_transactions(engine) as connection:
        if engine.dialect.name == "postgresql":
            schema = quoted(schema_of(engine) or "public")
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {schema}.{quoted(table.name)}")
        else:
            for statement in ("VACUUM", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.exec_driver_sql(statement).close()
    return Size(before, _size(engine))


def _size(engine: Engine) -> int:
    """Of SQLite the file and its log; of Postgres our tables with their indexes."""
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "")
        files = (path, path.with_name(f"{path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.is_file())
    names = [table.name for table in metadata.sorted_tables]
    size = (
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
        "WHERE relname = ANY(:names) AND pg_table_is_visible(oid)"
    )
    with engine.connect() as connection:
        return int(connection.execute(text(size), {"names": names}).scalar_one())
