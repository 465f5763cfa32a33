"""The change feed for programs: CSV for spreadsheets, Atom for readers."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from xml.etree import ElementTree

from sqlalchemy import Connection, Engine

from etl.db.engine import snapshot
from etl.formatting import safe
from etl.history import changes
from etl.reports.export import Column, csv_header, csv_rows
from etl.transform.diff import MISSING
from etl.web.pages import wanted_changes
from etl.web.query import PageQuery

COLUMNS = (
    Column("observed_at", "time"),
    *(Column(name, "text") for name in ("source", "provider", "stream", "project_key", "key")),
    *(Column(name, "text") for name in ("operation", "path")),
    *(Column(name, "json") for name in ("old_value", "new_value")),
    *(Column(name, "text") for name in ("actor", "reason")),
    Column("provider_updated_at", "time"),
    *(Column(name, "integer") for name in ("change_id", "run_id")),
)
AT_ONCE = 1000
ENTRIES = 100
ATOM = "http://www.w3.org/2005/Atom"


def as_csv(engine: Engine, asked: PageQuery) -> Iterator[bytes]:
    """All changes that the page would show, a row a field, piece by piece; the newest first.

    A piece is read in a snapshot that ends before the piece is given out. Each begins below the
    lowest change of the one before, so changes that come meanwhile are in none.
    """
    yield csv_header(COLUMNS)
    before: int | None = None
    while True:
        with snapshot(engine) as connection:
            events = changes.events(connection, wanted_changes(asked), before, most=AT_ONCE)
        if events.rows:
            rows = [_row(one, field) for one in events.rows for field in _fields(events, one)]
            yield csv_rows(COLUMNS, rows)
        before = events.before
        if before is None:
            return


def _fields(events: changes.ChangePage, row: Any) -> Any:
    nothing = changes.Field(path="", old=MISSING, new=MISSING)
    return events.fields.get(row.change_id) or (nothing,)


def _row(change: Any, field: changes.Field) -> tuple[object, ...]:
    return (
        *(change.observed_at, change.source, change.provider, change.stream),
        *(change.project_key, change.key, change.operation, field.path),
        *(field.old, field.new, change.actor, change.reason),
        *(change.provider_updated_at, change.change_id, change.run_id),
    )


def as_atom(connection: Connection, asked: PageQuery, base: str) -> bytes:
    """The newest changes as an Atom feed; base: scheme and host of the links."""
    events = changes.events(connection, wanted_changes(asked), None, most=ENTRIES)
    ElementTree.register_namespace("", ATOM)
    root = ElementTree.Element(f"{{{ATOM}}}feed")
    here = base + asked.here()
    page = base + asked.link("/changes", **dict(asked.params))
    _add(root, "title", "etl: changes")
    _add(root, "id", uuid5(NAMESPACE_URL, f"etl:{asked.here()}").urn)
    _add(root, "link", rel="self", href=here)
    _add(root, "link", rel="alternate", href=page)
    _add(root, "updated", max((row.observed_at for row in events.rows), default=asked.now))
    _add(_add(root, "author"), "name", "etl")
    for row in events.rows:
        _entry(root, row, events.fields.get(row.change_id, ()), base)
    body: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return body


def _entry(root: ElementTree.Element, row: Any, fields: Any, base: str) -> None:
    entry = _add(root, "entry")
    url = f"{base}/records/{row.stream}/{row.record_id}"
    place = f"{row.project_key}/" if row.stream != "projects" and row.project_key else ""
    _add(entry, "title", f"{row.operation} {row.stream[:-1]} {place}{row.key} ({row.source})")
    _add(entry, "id", _urn(row))
    _add(entry, "link", href=url)
    _add(entry, "updated", row.observed_at)
    told = [f"{one.path}: {_told(one.old)} → {_told(one.new)}" for one in fields]
    because = [text for text in (row.actor, row.reason) if text]
    _add(entry, "content", " · ".join((*because, *told)) or row.operation, type="text")


def _urn(row: Any) -> str:
    """The name of a change, under whatever address the console is called."""
    return uuid5(NAMESPACE_URL, f"etl:{row.source}/{row.change_id}").urn


def _told(value: Any) -> str:
    return "—" if value is MISSING else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _add(
    parent: ElementTree.Element, name: str, value: object = None, **attributes: str
) -> ElementTree.Element:
    """An element more; a text holds no letter that XML forbids."""
    made = ElementTree.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    if value is not None:
        text = value.isoformat() if isinstance(value, datetime) else str(value)
        made.text = safe(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    return made
