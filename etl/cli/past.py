"""`etl changes`, `etl history`: the change feed, field by field, and the life of one record."""

import csv
import json
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from etl.cli import context, terminal
from etl.diff import MISSING
from etl.errors import ConfigError

if TYPE_CHECKING:
    from etl.db.queries import Change

STREAMS = ("projects", "environments", "layers")
Format = Literal["table", "json", "csv"]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(changes)
    app.command()(history)


def changes(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(help="7d, 12h, 30min ago, or an ISO date or time.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    key: Annotated[str | None, typer.Option(help="Only of the record with this key.")] = None,
    run: Annotated[int | None, typer.Option(help="Only of this run.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print them.")] = "table",
) -> None:
    """The change feed: what was created, updated, deleted, restored, field by field."""
    from etl.app import utc_now
    from etl.db.queries import Filter, change_feed

    wanted = Filter(
        since=None if since is None else terminal.moment(since, utc_now()),
        source=source,
        stream=None if stream is None else _stream(stream),
        key=key,
        run_id=run,
    )
    with context.reading(ctx.obj) as connection:
        write(change_feed(connection, wanted), form)


def history(
    ctx: typer.Context,
    stream: Annotated[str, typer.Argument(help="projects, environments or layers.")],
    key: Annotated[str, typer.Argument(help="Its key, id or name, now or at any time.")],
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """The life of a record: every change that was observed, field by field."""
    from etl.db.queries import history as query

    with context.reading(ctx.obj) as connection:
        found = list(query(connection, _stream(stream), key, source))
    if not found:
        raise ConfigError(f"no {stream} record ever had the key, id or name {key!r}")
    write(found, form)


def write(found: "Iterable[Change]", form: Format) -> None:
    """Prints changes: a table for people, JSON lines and CSV for programs."""
    if form == "json":
        for change in found:
            print(json.dumps(_json(change)))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        writer.writerows([terminal.csv_safe(value) for value in _row(one)] for one in found)
    else:
        _write_lines(found)


COLUMNS = (
    *("observed_at", "source", "provider", "stream", "project_key", "key", "operation", "path"),
    *("old_value", "new_value", "actor", "reason", "provider_updated_at", "change_id", "run_id"),
)


def _row(change: "Change") -> tuple[object, ...]:
    updated = change.provider_updated_at
    return (
        change.observed_at.isoformat(),
        *(change.source, change.provider, change.stream, change.project_key, change.key),
        *(change.operation, change.path, _text(change.old), _text(change.new)),
        *(change.actor, change.reason, None if updated is None else updated.isoformat()),
        *(change.change_id, change.run_id),
    )


def _json(change: "Change") -> dict[str, Any]:
    values = dict(zip(COLUMNS, _row(change), strict=True))
    for name, value in (("old_value", change.old), ("new_value", change.new)):
        if value is MISSING:
            del values[name]
        else:
            values[name] = value
    return values


def _text(value: Any) -> str | None:
    return None if value is MISSING else json.dumps(value, ensure_ascii=False)


def _write_lines(found: "Iterable[Change]") -> None:
    """Under each time and source its changes, under each change its fields."""
    moment: tuple[datetime, str] | None = None
    event: int | None = None
    for change in found:
        if (change.observed_at, change.source) != moment:
            moment = (change.observed_at, change.source)
            terminal.say(f"{terminal.time(change.observed_at)} UTC  {change.source}", style="bold")
        if change.change_id != event:
            event = change.change_id
            place = f"{change.project_key}/" if change.stream != "projects" else ""
            because = change.actor or change.reason
            terminal.say(
                f"  {SIGNS[change.operation]} {change.operation:<9}{change.stream:<13}"
                f"{place}{change.key}" + (f"  ({because})" if because else ""),
                style=terminal.COLOURS[change.operation],
            )
        if change.path is not None:
            old, new = (_short(terminal.shown(value)) for value in (change.old, change.new))
            terminal.say(f"      {change.path}: {old} -> {new}")
    if moment is None:
        terminal.say("no change")


SIGNS = {"created": "+", "updated": "~", "deleted": "-", "restored": "*"}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


LONGEST_VALUE = 100


def _stream(name: str) -> str:
    if name not in STREAMS:
        raise ConfigError(f"no stream {name!r}; there are {', '.join(STREAMS)}")
    return name
