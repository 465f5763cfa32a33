"""Everything that a database says of a source's live records, now or at a moment, field by field.

In the form of `tests.support.vendor_schemas.records_of`, so that both can be compared.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select

from etl.db.tables import RECORDS
from etl.history import as_of
from tests.support.vendor_schemas import COLUMNS, Content, canonical

NAMED = ("key", "name", "provider_created_at", "provider_updated_at", "raw")
CHILD_NAMED = ("key", "name", "raw")


def stored(engine: Engine, source: str, moment: datetime | None = None) -> Content:
    """The live records of a source, with their children; at a moment: as they were then."""
    found: Content = {}
    places: dict[int, tuple[str, str]] = {}
    with engine.connect() as connection:
        for name, tables in RECORDS.items():
            table = as_of.rows(name, moment)
            for row in connection.execute(select(table).where(table.c.source == source)).mappings():
                place = (row["parent_id"], row["external_id"])
                project = ("project_key",) if "project_key" in row else ()
                found[name, *place, ""] = _content(row, (*COLUMNS[name], *NAMED, *project))
                if name == "layers":
                    places[row["layer_id"]] = place
            for child in tables.children:
                below = child.current.name
                table = as_of.rows(below, moment)
                own = select(table).where(table.c.source == source)
                for row in connection.execute(own).mappings():
                    # a row of a layer that is not live would be a fault: it has a place of its own
                    place = places.get(row["layer_id"], ("no live layer", str(row["layer_id"])))
                    content = _content(row, (*COLUMNS[below], *CHILD_NAMED))
                    found[below, *place, row["external_id"]] = content
    return found


def _content(row: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    return {column: row[column] for column in columns}


def differences(expected: Content, found: Content) -> list[str]:
    """Where two contents differ: a sentence for each field, the first ones only."""
    said = [f"missing: {place}" for place in expected.keys() - found.keys()]
    said += [f"not expected: {place}" for place in found.keys() - expected.keys()]
    for place in expected.keys() & found.keys():
        said += [
            f"{place} {column}: {canonical(value)} expected, {canonical(found[place].get(column))}"
            for column, value in expected[place].items()
            if canonical(value) != canonical(found[place].get(column))
        ]
    return sorted(said)[:20]
