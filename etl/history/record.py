"""One record for the web console: as it is or was, its versions, its parts. Reads only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, literal, select

from etl.db.tables import RECORDS
from etl.history import as_of

Rows = Sequence[Any]


def record(connection: Connection, stream: str, identifier: int, moment: datetime | None) -> Any:
    """One record as it is or was, tombstones too; None when there was none."""
    table = as_of.rows(stream, moment, deleted=True)
    query = select(table).where(table.c[RECORDS[stream].id] == identifier)
    return connection.execute(query).first()


def versions(connection: Connection, stream: str, identifier: int, most: int = 200) -> Rows:
    """Every state of a record, the newest first, without its content."""
    tables = RECORDS[stream]
    current, history = tables.current, tables.history
    shared = ("version", "operation", "run_id", "is_deleted", "key", "name")
    closed = select(
        *(history.c[name] for name in shared), history.c.valid_from, history.c.valid_to
    ).where(history.c[tables.id] == identifier)
    still = select(
        *(current.c[name] for name in shared),
        current.c.changed_at.label("valid_from"),
        literal(None, current.c.changed_at.type).label("valid_to"),
    ).where(current.c[tables.id] == identifier)
    both = closed.union_all(still).subquery()
    query = select(both).order_by(both.c.version.desc()).limit(most)
    return connection.execute(query).all()


def payload(connection: Connection, stream: str, identifier: int, version: int) -> Any:
    """What the vendor sent for that version of a record; None when there is no such version."""
    tables = RECORDS[stream]
    for table in (tables.current, tables.history):
        query = select(table.c.raw).where(
            table.c[tables.id] == identifier, table.c.version == version
        )
        found = connection.execute(query).first()
        if found is not None:
            return found.raw
    return None


def children(
    connection: Connection, name: str, layer_ids: Sequence[int], moment: datetime | None
) -> Rows:
    """The live parameters or reservations of these layers."""
    if not layer_ids:
        return []
    table = as_of.rows(name, moment)
    order = table.c.position if name == "layer_parameters" else table.c.environment_key
    query = select(table).where(table.c.layer_id.in_(layer_ids))
    return connection.execute(query.order_by(table.c.layer_id, order, table.c.external_id)).all()
