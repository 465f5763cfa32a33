"""The audit of a database: every promise that can be checked from within, and how to repair it.

Reads only; the caller gives one snapshot. Searches are in invariants (between rows) and recompute
(between a row and its payload); here are those about the database as a whole.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    ForeignKey,
    Select,
    Table,
    Text,
    cast,
    inspect,
    select,
)

from etl.audit import payloads, rows
from etl.audit.findings import Finding, Violation, finding
from etl.audit.rows import Rule, breaking
from etl.db import large_rows, migrations
from etl.db.types import metadata
from etl.providers.wire import SECRET_FIELDS, redact

Search = Callable[[Connection], Iterator[Violation]]

_BY_HAND = "restore the last good backup, or correct by hand the rows that are named"
_REPROCESS = "`etl reprocess` makes them anew from the stored payloads; --dry-run shows how"
_BARE_SECRET = re.compile(
    rf'"(?:{"|".join(sorted(SECRET_FIELDS))})":\s*"(?!fp:[0-9a-f]{{16}}")',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A promise, the search for what breaks it, and what to do then."""

    name: str
    promise: str
    remedy: str
    search: Search


def findings(connection: Connection) -> Iterator[Finding]:
    """What each check found, one after the other; the first one is about the tables.

    Where tables or columns are missing the others are not made, which is what they tell.
    """
    lacking: list[str] = []
    for check in CHECKS:
        found: Iterator[Violation] = check.search(connection)
        if lacking:
            what = f"it was not made, as there is no {', '.join(lacking)}"
            found = iter([Violation(where="the check", what=what)])
        yield finding(check.name, check.promise, check.remedy, found)
        if check.search is tables:
            lacking = _lacking(connection)


def _lacking(connection: Connection) -> list[str]:
    """The tables and columns of this code that the database has not."""
    there = {
        table: {column["name"] for column in columns}
        for (_, table), columns in inspect(connection).get_multi_columns().items()
    }
    lacking: list[str] = []
    for table in metadata.sorted_tables:
        if table.name in there:
            names = there[table.name]
            lacking += [str(column) for column in table.c if column.name not in names]
        else:
            lacking.append(table.name)
    return lacking


def tables(connection: Connection) -> Iterator[Violation]:
    """What differs between the tables of the database and those of this code."""
    found = migrations.current(connection)
    if found != migrations.HEAD:
        yield Violation(where="schema", what=f"it is {found}, this etl needs {migrations.HEAD}")
    for difference in migrations.compared(connection):
        yield Violation(where="schema", what=difference)


def references() -> Iterator[Rule]:
    """Rows that refer to a row that is not there."""
    for table in metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            target = key.column.table.alias("target")
            there = target.c[key.column.name]
            query = (
                select(*_primary(table), key.parent.label("lost"))
                .outerjoin(target, there == key.parent)
                .where(key.parent.is_not(None), there.is_(None))
            )
            yield Rule(query=query, where=partial(_place, table), what=partial(_lost, key))


def _lost(key: ForeignKey, row: Any) -> str:
    return f"there is no {key.column.table.name} {row.lost}"


def secrets(connection: Connection) -> Iterator[Violation]:
    """Texts and documents that hold something shaped like a vendor's key; it is not shown."""
    for table, query, texts in _all_texts():
        for row in large_rows.rows(connection, query, *texts):
            found = row[len(table.primary_key) :]
            if not _is_secret("\n".join(text for text in found if text)):
                continue
            named = [c.name for c, text in zip(texts, found, strict=True) if _is_secret(text or "")]
            what = f"something like a key in {', '.join(named)}"
            yield Violation(where=redact(_place(table, row)), what=what)


@cache
def _all_texts() -> Sequence[tuple[Table, Select[Any], Sequence[Column[Any]]]]:
    """A query for each table, and the columns of it that hold texts or documents."""
    queries: list[tuple[Table, Select[Any], Sequence[Column[Any]]]] = []
    for table in metadata.sorted_tables:
        texts = [column for column in table.c if isinstance(column.type, Text | JSON)]
        queries.append((table, select(*_primary(table), *map(_text, texts)), texts))
    return queries


def _is_secret(text: str) -> bool:
    return redact(text) != text or _BARE_SECRET.search(text) is not None


def _text(column: Column[Any]) -> Any:
    return cast(column, Text).label(f"text_{column.name}")


def _primary(table: Table) -> Sequence[Any]:
    return [column.label(f"primary_{column.name}") for column in table.primary_key]


def _place(table: Table, row: Any) -> str:
    return f"{table.name} {'/'.join(str(row[i]) for i in range(len(table.primary_key)))}"


CHECKS: tuple[Check, ...] = (
    Check(
        name="schema",
        promise="the tables are those of this code",
        remedy="run `etl db upgrade`; what is left then was altered by hand, and must be undone",
        search=tables,
    ),
    Check(
        name="references",
        promise="every row that is referred to is there",
        remedy=_BY_HAND,
        search=breaking(references),
    ),
    Check(
        name="identities",
        promise="one current row for each source, project and id",
        remedy=_BY_HAND,
        search=breaking(rows.identities),
    ),
    Check(
        name="versions",
        promise="the versions of a record are 1 to n, without a gap",
        remedy=_BY_HAND,
        search=breaking(rows.version_numbers),
    ),
    Check(
        name="intervals",
        promise="each version begins when the one before ends",
        remedy=_BY_HAND,
        search=breaking(rows.intervals),
    ),
    Check(
        name="operations",
        promise="a life begins with created, and only the deleted are restored",
        remedy=_BY_HAND,
        search=breaking(rows.operations),
    ),
    Check(
        name="tombstones",
        promise="is_deleted and deleted_at say the same",
        remedy=_BY_HAND,
        search=breaking(rows.tombstone_times),
    ),
    Check(
        name="evidence",
        promise="every deletion has a reason, which its run bears out",
        remedy="the next complete `etl sync` restores what is still there; see `etl show RUN`",
        search=breaking(rows.evidence),
    ),
    Check(
        name="events",
        promise="every version has its one event in the change feed",
        remedy=_BY_HAND,
        search=breaking(rows.events),
    ),
    Check(
        name="event fields",
        promise="created and deleted records have no field diffs",
        remedy="delete the rows of change_fields of the events that are named",
        search=breaking(rows.fieldless_events),
    ),
    Check(
        name="field diffs",
        promise="field diffs lead from each version to the next",
        remedy=_REPROCESS,
        search=payloads.field_diffs,
    ),
    Check(
        name="layer parts",
        promise="live parameters and reservations belong to a live layer",
        remedy=_REPROCESS,
        search=breaking(rows.parts_of_layers),
    ),
    Check(
        name="project parts",
        promise="environments and layers name their live project, by id and key",
        remedy=_REPROCESS,
        search=breaking(rows.parts_of_projects),
    ),
    Check(
        name="hashes",
        promise="content hashes are those of the stored payloads",
        remedy=_REPROCESS,
        search=payloads.hashes,
    ),
    Check(
        name="columns",
        promise="typed columns are what this code makes of the stored payloads",
        remedy=_REPROCESS,
        search=payloads.columns,
    ),
    Check(
        name="child rows",
        promise="parameters and reservations are those of the stored payloads",
        remedy=_REPROCESS,
        search=payloads.children,
    ),
    Check(
        name="runs",
        promise="a run that goes on is the last of its kind, or has a lease or staged rows",
        remedy="the next `etl sync` of that source goes on with it, or closes it",
        search=breaking(rows.unended_runs),
    ),
    Check(
        name="staging",
        promise="only runs that have not ended have staged rows",
        remedy="delete the rows of these runs from the tables that are named",
        search=breaking(rows.leftovers),
    ),
    Check(
        name="times",
        promise="changes have the time of their run, and merges go forward in time",
        remedy=_BY_HAND,
        search=breaking(rows.merge_times),
    ),
    Check(
        name="secrets",
        promise="no key of a vendor is stored",
        remedy="rotate the key at the vendor now; then overwrite it here and in the backups",
        search=secrets,
    ),
)
