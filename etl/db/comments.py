"""COMMENT ON for PostgreSQL: what tables, views and columns mean, in the words of docs/schema.md.

The page is packed with the program, so that there is one text of each.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

_HERE = Path(__file__).resolve()
_PLACES = (_HERE.with_name("schema.md"), _HERE.parents[2] / "docs" / "schema.md")  # wheel, checkout

_SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_BORROWED = re.compile(r"^Columns: (.*)\.$", re.MULTILINE)
_NAME = re.compile(r"`(\w+)`")
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_VENDORS = {"LD": "LaunchDarkly", "ST": "Statsig", "LY": "Layers.com"}

_COLUMNS = """
SELECT pg_class.relname, pg_class.relkind = 'v' AS is_view, pg_attribute.attname
FROM pg_class JOIN pg_attribute ON pg_attribute.attrelid = pg_class.oid
WHERE pg_class.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
  AND pg_class.relkind IN ('r', 'v') AND pg_attribute.attnum > 0 AND NOT pg_attribute.attisdropped
ORDER BY pg_class.relname, pg_attribute.attnum
"""


@dataclass(frozen=True, slots=True)
class Comment:
    """What a table or view is, and what its columns are, by their names."""

    text: str
    columns: Mapping[str, str]


def comments() -> Mapping[str, Comment]:
    """Name of a table or view -> its comment."""
    page = next(place for place in _PLACES if place.is_file()).read_text(encoding="utf-8")
    sections: dict[str, str] = dict(_SECTION.findall(page))
    return {
        name: Comment(_introduction(body), dict(_columns(name, sections)))
        for name, body in sections.items()
    }


def write_comments(connection: Connection) -> None:
    """Writes the comments of all that is there; nothing on SQLite, which has none."""
    if connection.dialect.name != "postgresql":
        return
    known, statements = comments(), {}
    for name, is_view, column in connection.execute(text(_COLUMNS)):
        if name not in known:
            continue
        kind = "VIEW" if is_view else "TABLE"
        statements[name] = f'COMMENT ON {kind} "{name}" IS {_literal(known[name].text)}'
        told = _literal(known[name].columns.get(column, ""))
        statements[f"{name}.{column}"] = f'COMMENT ON COLUMN "{name}"."{column}" IS {told}'
    if statements:
        connection.exec_driver_sql("; ".join(statements.values()).replace("%", "%%"))


def _introduction(body: str) -> str:
    lines = []
    for line in body.strip().splitlines():
        if line.startswith(("|", "```")):
            break
        if not line.startswith("Columns: "):
            lines.append(line)
    return _plain(" ".join(lines))


def _columns(name: str, sections: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The columns that a section tells, the borrowed ones first."""
    body = sections[name]
    for line in _BORROWED.findall(body):
        for other in _NAME.findall(line):
            yield from _columns(other, sections)
    head: list[str] = []
    for line in body.splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not head:
            head = cells
        elif head[0] == "column" and (found := _NAME.fullmatch(cells[0])):
            yield found[1], _meaning(dict(zip(head, cells, strict=False)))


def _meaning(cells: Mapping[str, str]) -> str:
    fields = [
        f"{vendor}: {cells[short]}"
        for short, vendor in _VENDORS.items()
        if cells.get(short, "—") not in ("", "—")
    ]
    return _plain("; ".join(part for part in (cells["meaning"], *fields) if part))


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown).replace("`", "").strip()


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'" if value else "NULL"
