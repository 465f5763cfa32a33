"""What must hold of history whatever happened: as the audit finds it, and found in another way.

The second way shares no code with `etl.audit.rows`: versions as the views tell them, and the
events of a record replayed over its first payload.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from sqlalchemy import Engine, select

from etl.audit.checks import findings
from etl.db.engine import snapshot
from etl.db.tables import RECORDS, change_fields, changes
from etl.json_text import json_text
from etl.providers import PROVIDERS
from etl.transform.canonical import content_of, hash_of
from tests.support.database import Rows, rows

VIEWS = {"projects": "project", "environments": "environment", "layers": "layer"}
NAMED_BY = {"parameters": "name", "reservations": "experimentKey"}
STEP = re.compile(r'\[("(?:[^"\\]|\\.)*"|[^\]]*)\]|("(?:[^"\\]|\\.)*")|([^.\[\]"]+)')


def violations(engine: Engine) -> list[str]:
    """Everything that is not as promised; empty for a sound database."""
    with snapshot(engine) as connection:
        audited = [f"{one.check}: {what}" for one in findings(connection) for what in one.examples]
    return [*audited, *broken_lives(engine), *unreplayed(engine)]


def broken_lives(engine: Engine) -> Iterator[str]:
    """Records whose versions overlap, leave a gap, are not numbered 1 to n, or end twice."""
    for stream, view in VIEWS.items():
        lives: dict[int, Rows] = defaultdict(list)
        for row in rows(engine, f"{view}_versions"):
            lives[row[f"{view}_id"]].append(row)
        stored = {row[f"{view}_id"]: row for row in rows(engine, stream)}
        for row_id, life in lives.items():
            life.sort(key=lambda row: row["version"])
            current = stored[row_id]
            facts = {
                "numbers": [row["version"] for row in life] == list(range(1, len(life) + 1)),
                "ends": [row["valid_to"] is None for row in life].index(True) == len(life) - 1,
                "gaps": all(old["valid_to"] == new["valid_from"] for old, new in pairwise(life)),
                "order": all(row["valid_from"] < row["valid_to"] for row in life[:-1]),
                "current": life[-1]["version"] == current["version"]
                and life[-1]["content_hash"] == current["content_hash"]
                and life[-1]["is_deleted"] == current["is_deleted"],
            }
            yield from (f"{stream} {row_id}: {fact}" for fact, holds in facts.items() if not holds)


def unreplayed(engine: Engine) -> Iterator[str]:
    """Records whose events, replayed over the first payload, do not lead to the later ones."""
    for stream in VIEWS:
        told = _events(engine, stream)
        for row_id, life in _payloads(engine, stream).items():
            how = PROVIDERS[life[0]["provider"]].stream(stream)
            content = content_of(life[0]["raw"], how)
            for row in life[1:]:
                for path, value, removed in told[row_id, row["version"]]:
                    put(content, path, value, removed=removed)
                wanted = content_of(row["raw"], how)
                if json_text(in_order(content)) != json_text(in_order(wanted)):
                    yield f"{stream} {row_id}: its events do not lead to version {row['version']}"
                if row["content_hash"] != hash_of(wanted):
                    yield f"{stream} {row_id}: another hash in version {row['version']}"


def _events(engine: Engine, stream: str) -> dict[tuple[int, int], list[tuple[str, Any, bool]]]:
    told: dict[tuple[int, int], list[tuple[str, Any, bool]]] = defaultdict(list)
    removed = change_fields.c.new_value.is_(None).label("removed")
    query = select(changes.c.record_id, changes.c.version, change_fields, removed)
    with engine.connect() as connection:
        found = query.join_from(changes, change_fields).where(changes.c.stream == stream)
        for row in connection.execute(found.order_by(change_fields.c.change_id)):
            told[row.record_id, row.version].append((row.path, row.new_value, bool(row.removed)))
    return told


def _payloads(engine: Engine, stream: str) -> dict[int, Rows]:
    tables = RECORDS[stream]
    found: dict[int, Rows] = defaultdict(list)
    for table in (tables.history, tables.current):
        for row in rows(engine, table):
            found[row[tables.id]].append(row)
    return {row_id: sorted(life, key=lambda row: row["version"]) for row_id, life in found.items()}


def _steps(path: str) -> list[tuple[str, str]]:
    steps = []
    for label, quoted, plain in STEP.findall(path):
        text = label or quoted or plain
        steps.append(
            ("label" if label else "name", json.loads(text) if text.startswith('"') else text)
        )
    return steps


def put(content: Any, path: str, value: Any, *, removed: bool) -> None:
    """Sets or removes what is at a path of the feed; labels name items of lists."""
    _apply(content, _steps(path), value, removed=removed)


def _apply(content: Any, steps: list[tuple[str, str]], value: Any, *, removed: bool) -> None:
    inner, last = content, ""
    for kind, step in steps[:-1]:
        inner = inner[_index(inner, last, step)] if kind == "label" else inner[step]
        last = step if kind == "name" else last
    kind, step = steps[-1]
    if kind == "label":
        at = _index(inner, last, step)
        inner[at : at + 1] = [] if removed else [value]
    elif removed:
        inner.pop(step)
    else:
        inner[step] = value


def _index(items: list[Any], kind: str, label: str) -> int:
    names = [str(item[NAMED_BY[kind]]) for item in items]
    return names.index(label) if label in names else len(items)


def in_order(content: Any) -> Any:
    """Without the order of named items: the feed says which are new, not where they stand."""
    if isinstance(content, list):
        return [in_order(one) for one in content]
    if not isinstance(content, dict):
        return content
    return {
        name: sorted(inner, key=json_text) if name in NAMED_BY else in_order(inner)
        for name, inner in content.items()
    }
