"""The scope each stream was last read in, and the stored records that are outside of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from etl.db.bulk import copy_rows, upsert
from etl.db.run_tables import outside_scope, scopes
from etl.load.scope import Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScope:
    """The scope of a stream and the credential it was read with."""

    scope: str
    credential: Credential


def stored(connection: Connection, source: str) -> Mapping[str, StoredScope]:
    """Stream -> the scope of its last whole walk."""
    query = select(scopes).where(scopes.c.source == source)
    return {
        row.stream: StoredScope(
            scope=row.scope, credential=Credential(key=row.key_fingerprint, identity=row.identity)
        )
        for row in connection.execute(query)
    }


def store(
    connection: Connection, source: str, stream: str, scope: StoredScope, run_id: int
) -> None:
    """The stream is read in this scope from this run on."""
    row = {
        "source": source,
        "stream": stream,
        "scope": scope.scope,
        "key_fingerprint": scope.credential.key,
        "identity": scope.credential.identity,
        "since_run": run_id,
    }
    changing = ("scope", "key_fingerprint", "identity", "since_run")
    upsert(connection, scopes, [row], key=("source", "stream"), update=changing)


def outside(connection: Connection, source: str, stream: str) -> frozenset[int]:
    """The rows of a stream that left its scope and have not been met since."""
    query = select(outside_scope.c.row_id).where(
        outside_scope.c.source == source, outside_scope.c.stream == stream
    )
    return frozenset(connection.execute(query).scalars())


def leave(
    connection: Connection, source: str, stream: str, row_ids: Collection[int], run_id: int
) -> None:
    """These rows are outside of the scope from this run on."""
    columns = ("source", "stream", "row_id", "since_run")
    rows = [(source, stream, row_id, run_id) for row_id in sorted(row_ids)]
    copy_rows(connection, outside_scope, columns, rows)


def enter(connection: Connection, source: str, stream: str, row_ids: Collection[int]) -> None:
    """These rows are inside again."""
    for row_id in row_ids:
        connection.execute(
            delete(outside_scope).where(
                outside_scope.c.source == source,
                outside_scope.c.stream == stream,
                outside_scope.c.row_id == row_id,
            )
        )
