"""`etl diff`: what differs in the whole estate between two moments, whatever was in between."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, lookup, terminal
from etl.cli.changes import SIGNS, Format, arrow, stream_of
from etl.cli.export import Exact, Spreadsheet, csv_style, opened
from etl.errors import ConfigError
from etl.json_text import iso_time
from etl.model import Operation
from etl.reports.export import Column, CsvStyle, write_csv
from etl.transform.diff import MISSING, FieldChange

if TYPE_CHECKING:
    from etl.history.compare import RecordDifference


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(diff)


def diff(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(help="7d, 12h, 30min ago, or an ISO date or time.")],
    second: Annotated[str | None, typer.Argument(help="The same; default: now.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = "table",
    exact: Exact = False,
    spreadsheet: Spreadsheet = False,
) -> None:
    """What differs between two moments: created, deleted, updated with its fields, restored.

    The net effect: what became as it had been is no difference.
    """
    from etl.history.compare import differences
    from etl.operations.sync import utc_now

    style = csv_style(form, exact=exact, spreadsheet=spreadsheet)
    wanted = None if stream is None else stream_of(stream)
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        begin = context.past_moment(connection, first, source, option="T1")
        end = utc_now()
        if second is not None:
            end = context.past_moment(connection, second, source, option="T2")
        if begin > end:
            raise ConfigError(
                f"{terminal.time(begin)} is after {terminal.time(end)}; earlier first"
            )
        found = differences(connection, begin, end, source=source, stream=wanted)
        with closing(found):
            if form == "table":
                terminal.say(f"from {terminal.time(begin)} to {terminal.time(end)} UTC")
            _print(found, form, style)


def _print_json(found: "Iterable[RecordDifference]") -> None:
    for one in found:
        print(json.dumps(as_json(one)))


def _print(found: "Iterable[RecordDifference]", form: Format, style: CsvStyle) -> None:
    if form == "table":
        _print_table(found)
    elif form in ("json", "jsonl"):
        _print_json(found)
    else:
        with opened(None, force=False) as file:
            write_csv(file, COLUMNS, (list(_rows(one)) for one in found), style)


def as_json(one: "RecordDifference") -> Mapping[str, Any]:
    """A difference as JSON values; a field has no value on the side where it did not exist."""
    return {
        **{name: getattr(one, name) for name in _TOLD},
        "observed_at": iso_time(one.observed_at),
        "fields": [_field(field) for field in one.fields],
        **({} if one.operation == Operation.UPDATED else {"record": one.record}),
    }


def _field(field: FieldChange) -> Mapping[str, Any]:
    values = {"path": field.path, "old_value": field.old, "new_value": field.new}
    return {name: value for name, value in values.items() if value is not MISSING}


def _rows(one: "RecordDifference") -> Iterator[list[object]]:
    """A row a field, or one without."""
    head = [getattr(one, name) for name in _TOLD]
    for field in one.fields or (FieldChange("", MISSING, MISSING),):
        yield [*head, one.observed_at, field.path or None, field.old, field.new]


_TOLD = (
    *("source", "provider", "stream", "parent_id", "external_id", "project_key", "key", "name"),
    *("operation", "changes", "actor", "reason"),
)
COLUMNS = (
    *(Column(name, "integer" if name == "changes" else "text") for name in _TOLD),
    *(Column("observed_at", "time"), Column("path", "text")),
    *(Column("old_value", "json"), Column("new_value", "json")),
)


def _print_table(found: "Iterable[RecordDifference]") -> None:
    """Under each source and stream its records, under each record its fields; then the sums."""
    counts: Counter[str] = Counter()
    for place, records in groupby(found, key=attrgetter("source", "stream")):
        terminal.say("  ".join(place), style="bold")
        for one in records:
            counts[one.operation] += 1
            _write_record(one)
    sums = ", ".join(f"{counts[name]:,} {name}" for name in SIGNS if counts[name])
    terminal.say(sums or "no difference")


def _write_record(one: "RecordDifference") -> None:
    parent = f"{one.project_key}/" if one.stream != "projects" else ""
    several = f"{one.changes} changes" if one.changes > 1 else None
    told = ", ".join(part for part in (one.actor or one.reason, several) if part)
    terminal.say(
        f"  {SIGNS[one.operation]} {one.operation:<9}{parent}{one.key}"
        + (f"  ({told})" if told else ""),
        style=terminal.COLOURS[one.operation],
    )
    for field in one.fields:
        terminal.say(f"      {field.path}: {arrow(field.old, field.new)}")
