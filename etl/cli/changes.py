"""`etl changes` and `etl history`: the change feed, and the history of one record."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from etl.cli import context, lookup, terminal
from etl.cli.export import Exact, Spreadsheet, csv_style, opened
from etl.errors import ConfigError
from etl.json_text import did_you_mean, iso_time
from etl.model import Operation
from etl.reports.export import Column, CsvStyle, write_csv
from etl.transform.diff import MISSING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.history.runs import Change

STREAMS = ("projects", "environments", "layers")
Format = Literal["table", "jsonl", "csv", "json"]  # json: as scripts called it
SourceArgument = Annotated[
    str | None, typer.Argument(metavar="[SOURCE]", help="As --source.", hidden=True)
]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only of this source.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(changes)
    app.command()(history)


def changes(
    ctx: typer.Context,
    source_: SourceArgument = None,
    since: Annotated[
        str | None, typer.Option(help="7d, 12h, 30min ago, or an ISO date or time.")
    ] = None,
    source: SourceOption = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    key: Annotated[str | None, typer.Option(help="Only of the record with this key.")] = None,
    run: Annotated[int | None, typer.Option(help="Only of this run.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the newest; the newest last.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print them.")] = "table",
    exact: Exact = False,
    spreadsheet: Spreadsheet = False,
) -> None:
    """The change feed: what was created, updated, deleted, restored, field by field."""
    from etl.history.runs import Filter, change_feed
    from etl.operations.sync import utc_now

    style = csv_style(form, exact=exact, spreadsheet=spreadsheet)
    wanted = Filter(
        since=None if since is None else terminal.moment(since, utc_now()),
        source=lookup.one_source(source_, source),
        stream=None if stream is None else stream_of(stream),
        key=key,
        run_id=run,
        limit=limit,
    )
    with context.reading(ctx.obj) as connection:
        lookup.ensure_known(ctx.obj, connection, wanted)
        with closing(change_feed(connection, wanted)) as found:
            write(found, form, style)
        _tell_horizon(connection, wanted.source, wanted.since)


def history(
    ctx: typer.Context,
    stream: Annotated[str, typer.Argument(help="projects, environments or layers.")],
    key: Annotated[str, typer.Argument(help="Its key, id or name, now or at any time.")],
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = "table",
    exact: Exact = False,
    spreadsheet: Spreadsheet = False,
) -> None:
    """The life of a record: what changed when, who did it, and when the vendor says it was."""
    from etl.history import runs

    style = csv_style(form, exact=exact, spreadsheet=spreadsheet)
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        found = list(runs.history(connection, stream_of(stream), key, source))
        records = runs.records(connection, stream, {change.record_id for change in found})
        _tell_horizon(connection, source, None)
        if not found:
            near = did_you_mean(key, runs.keys(connection, stream))
            raise ConfigError(f"no {stream} record ever had the key, id or name {key!r}{near}")
    if form == "table":
        for record_id, life in groupby(found, key=attrgetter("record_id")):
            _write_life(list(life), records[record_id])
    else:
        write(found, form, style)


def _write_life(life: "Sequence[Change]", record: Any) -> None:
    """What the record is now, and under each version what changed with it."""
    first = life[0]
    place = f"{life[-1].project_key}/" if first.stream != "projects" else ""
    terminal.say(f"{place}{record.key}", style="bold")
    ended = f"deleted since {terminal.time(record.deleted_at)} UTC" if record.is_deleted else "live"
    terminal.say(f"  name     {record.name}")
    terminal.say(f"  id       {record.external_id}")
    terminal.say(f"  in       {first.stream} of {first.source} ({first.provider})")
    terminal.say(f"  now      {ended}, {terminal.count(record.version, 'version')}")
    gone: datetime | None = None
    for _, fields in groupby(life, key=attrgetter("change_id")):
        told = list(fields)
        change = told[0]
        away = f"after {terminal.age(gone, change.observed_at)}" if gone else None
        gone = change.observed_at if change.operation == Operation.DELETED else None
        _write_event(change, away)
        for one in told:
            _write_field(one)


def _write_event(change: "Change", away: str | None) -> None:
    # of a deletion the vendor's time is that of an earlier change
    deleted = change.operation == Operation.DELETED
    vendor = "" if deleted else terminal.time(change.provider_updated_at)
    by = change.actor and f"by {change.actor}"
    about = [by, change.reason, away, f"vendor's time {vendor}" if vendor else None]
    terminal.say(
        f"  {change.version:>3} {terminal.time(change.observed_at)} UTC  run {change.run_id:<5}"
        f"{SIGNS[change.operation]} "
        + "  ".join((f"{change.operation:<8}", *(told for told in about if told))).rstrip(),
        style=terminal.COLOURS[change.operation],
    )


def _tell_horizon(connection: "Connection", source: str | None, since: datetime | None) -> None:
    """What was pruned of the time that is asked about, on stderr."""
    from etl.history.retention import known_since

    for name, moment in known_since(connection).items():
        if source in (None, name) and (since is None or since < moment):
            when = terminal.time(moment)
            terminal.complain(f"etl: the changes of {name} before {when} UTC were pruned")


def write(found: "Iterable[Change]", form: Format, style: CsvStyle = CsvStyle.SAFE) -> None:
    """Prints changes: a table for people, JSON lines and CSV for programs."""
    if form in ("json", "jsonl"):
        for change in found:
            print(json.dumps(_json(change)))
    elif form == "csv":
        with opened(None, force=False) as file:
            write_csv(file, COLUMNS, ([attrgetter(*_NAMES)(change)] for change in found), style)
    else:
        _write_lines(found)


COLUMNS = (
    Column("observed_at", "time"),
    *(Column(name, "text") for name in ("source", "provider", "stream", "project_key", "key")),
    *(Column(name, "text") for name in ("operation", "path")),
    *(Column(name, "json") for name in ("old_value", "new_value")),
    *(Column(name, "text") for name in ("actor", "reason")),
    Column("provider_updated_at", "time"),
    *(Column(name, "integer") for name in ("change_id", "run_id", "record_id", "version")),
)
_NAMES = [column.name.removesuffix("_value") for column in COLUMNS]


def _json(change: "Change") -> dict[str, Any]:
    values = zip(COLUMNS, attrgetter(*_NAMES)(change), strict=True)
    return {
        column.name: iso_time(value) if isinstance(value, datetime) else value
        for column, value in values
        if value is not MISSING
    }


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
        _write_field(change)
    if moment is None:
        terminal.say("no change")


def _write_field(change: "Change") -> None:
    if change.path is not None:
        terminal.say(f"      {change.path}: {arrow(change.old, change.new)}")


def arrow(old: Any, new: Any) -> str:
    """old -> new, each short enough for a line."""
    return " -> ".join(_short(terminal.shown(value)) for value in (old, new))


SIGNS: Mapping[str, str] = {
    Operation.CREATED: "+",
    Operation.UPDATED: "~",
    Operation.DELETED: "-",
    Operation.RESTORED: "*",
}


def _short(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"


MAX_VALUE_LENGTH = 100


def stream_of(name: str) -> str:
    """A stream's name; ConfigError with all of them where it is none."""
    return lookup.one_of(name, STREAMS, what="stream")
