"""`etl status`, `etl runs`, `etl show`: how fresh the data is, and what ran."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from etl.cli import context, lookup, terminal
from etl.cli.changes import SourceArgument, SourceOption
from etl.cli.quiet import Quiet
from etl.cli.terminal import out
from etl.errors import STALE, ConfigError
from etl.json_text import iso_time
from etl.model import COMMITTED, RunStatus, StreamStatus

READ = frozenset({*COMMITTED, "never"})  # what the streams of such a source are is known
MIDDLE_OF_A_RUN = RunStatus.RUNNING
NOT_CONFIGURED = "not configured; see `etl source --help`"
FUTURE = "future"


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(status)
    app.command("runs")(list_runs)
    app.command()(show)


def status(
    ctx: typer.Context,
    source: Annotated[list[str] | None, typer.Argument(help="Sources; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    max_age: Annotated[
        str | None,
        typer.Option(help="Exit 6 when a last complete snapshot is older: 90min, 12h, 2d."),
    ] = None,
    _quiet: Quiet = False,
) -> None:
    """A line a source and stream: last complete snapshot, its age, records, state."""
    from etl.history import runs
    from etl.operations.sync import utc_now

    now = utc_now()
    oldest = None if max_age is None else terminal.moment(max_age, now, "--max-age")
    with context.reading(ctx.obj, absent=True) as connection:
        synced = runs.freshness(connection, source or (), now=now)
        live = runs.live_counts(connection)
    found: list[Any] = [*synced, *_never(ctx.obj, synced, source or ())]
    found.sort(key=lambda row: (row.source, row.stream))
    expected = _expected(ctx.obj)
    stale = [
        row
        for row in found
        if oldest
        and (row.source, row.stream) in expected
        and row.stream_status != StreamStatus.UNAVAILABLE
        and (row.last_complete_at is None or row.last_complete_at < oldest or row.future_at)
    ]
    configured = {name for name, _ in expected}
    if as_json:
        told = [_fresh_json(row, live, now) for row in found]
        print(json.dumps([{**one, "configured": one["source"] in configured} for one in told]))
    elif not synced:
        out.print("nothing was synced yet; `etl sync` does")
    else:
        rows = (
            (
                row.source,
                row.stream,
                live.get((row.source, row.stream), 0),
                terminal.time(row.last_complete_at),
                terminal.age(row.last_complete_at, now),
                _state(row),
                row.last_run_id,
                _remark(row) if row.source in configured else NOT_CONFIGURED,
            )
            for row in found
        )
        columns = ("source", "stream", "records#", "last complete (UTC)", "age#", "state", "run#")
        out.print(terminal.table((*columns, "remark"), rows))
    for row in found:
        if row.future_at is not None:
            terminal.complain(
                f"etl: {row.source} {row.stream}: a time of run {row.last_run_id} is in the future "
                f"({terminal.time(row.future_at)} UTC), so its data counts as stale. Correct the "
                "clock, then run `etl sync`"
            )
    if stale or (oldest and not found):
        terminal.complain(f"etl: stale: {len(stale)} of {len(found)} older than {max_age}")
        raise typer.Exit(STALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Never:
    """A configured stream that no run has walked."""

    source: str
    provider: str
    stream: str
    last_complete_at: None = None
    future_at: None = None
    last_run_id: None = None
    run_status: str = "never"
    stream_status: str = "never"
    incomplete_reason: str = "never synced"
    error: None = None


def _expected(common: context.Common) -> set[tuple[str, str]]:
    """The sources and streams that the configuration asks for."""
    from etl.providers import PROVIDERS

    return {
        (name, stream.name)
        for name, source in context.settings(common).sources.items()
        for stream in PROVIDERS[source.provider].streams
        if stream.is_wanted(source.options)
    }


def _never(
    common: context.Common, synced: Sequence[Any], asked: Collection[str]
) -> Iterator[_Never]:
    """The configured streams without a run; ConfigError for a source that nobody knows."""
    known = {(row.source, row.stream) for row in synced}
    sources = context.settings(common).sources
    unknown = set(asked) - {name for name, _ in known} - set(sources)
    context.settings(common, sorted(unknown))
    for name, stream in sorted(_expected(common) - known):
        if not asked or name in asked:
            yield _Never(source=name, provider=sources[name].provider, stream=stream)


def list_runs(
    ctx: typer.Context,
    source_: SourceArgument = None,
    source: SourceOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """The newest runs: when, how they ended, what they changed."""
    from etl.history import runs

    source = lookup.one_source(source_, source)
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        found = runs.last_runs(connection, source, limit)
    if as_json:
        print(json.dumps([_plain(row) for row in found], default=str))
        return
    if not found:
        terminal.say(f"no run of {source}" if source else "no run yet; `etl sync` makes one")
        return
    columns = ("run#", "source", "kind", "status", "exit#", "started (UTC)", "took#", "requests#")
    rows = (
        (
            row.run_id,
            row.source,
            row.kind,
            row.status,
            row.exit_code,
            terminal.time(row.started_at),
            _took(row),
            row.requests,
            _changed(row),
        )
        for row in found
    )
    out.print(terminal.table((*columns, "changed"), rows))


def _changed(row: Any) -> str:
    names = ("created", "updated", "deleted", "restored", "rejected")
    return ", ".join(f"{number} {name}" for name in names if (number := getattr(row, name)))


def show(
    ctx: typer.Context,
    run: Annotated[int, typer.Argument(help="The run's number, see `etl runs`.")],
    partitions: Annotated[
        bool, typer.Option("--partitions", help="The proof of every single list too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """One run: its streams and partitions, requests, waits, completeness, errors."""
    from etl.history import runs

    with context.reading(ctx.obj) as connection:
        found, streams = runs.one_run(connection, run)
    if found is None:
        raise ConfigError(f"there is no run {run}; `etl runs` lists them")
    if as_json:
        whole = {**_plain(found), "streams": [_plain(row) for row in streams]}
        print(json.dumps(whole, default=str))
        return
    terminal.say(
        f"run {found.run_id} of {found.source} ({found.provider}): {found.kind}, {found.status}"
        + ("" if found.exit_code is None else f", exit {found.exit_code}"),
        style=terminal.COLOURS.get(found.status, ""),
    )
    waited = sum(row.waited_seconds for row in streams)
    waits = f", {terminal.span(waited)} of it waiting" if waited >= 1 else ""
    terminal.say(
        f"started {terminal.time(found.started_at)} UTC, took {_took(found)}{waits}, "
        f"{found.attempts} process{'' if found.attempts == 1 else 'es'}, "
        f"etl {found.etl_version}"
    )
    for line in (found.error, *(found.notes or ())):
        if line:
            terminal.say(" ", line)
    columns = (
        *("stream", "of", "state", "complete", "expected#", "received#", "pages#", "requests#"),
        *("retries#", "waited#", "changed", "how it is known, or why not"),
    )
    out.print(terminal.table(columns, map(_stream_row, streams)))
    if partitions:
        terminal.say()
        counts = ("expected#", "came#", "pages#", "walks#")
        names = ("stream", "of", "state", *counts, "how it ended")
        out.print(terminal.table(names, _list_rows(streams)))


def _list_rows(streams: Iterable[Any]) -> Iterator[tuple[object, ...]]:
    """A row for each list that a run walked."""
    from etl.extract.list_walk import lists

    names = ("of", "status", "expected", "came", "pages", "walks", "ended")
    for row in streams:
        yield from ((row.stream, *(one[name] for name in names)) for one in lists(row.walks))


def _stream_row(row: Any) -> tuple[object, ...]:
    return (
        *(row.stream, row.parent_key, row.status, "yes" if row.complete else "no"),
        *(row.expected_total, row.received, row.pages, row.requests, row.retries or None),
        terminal.span(row.waited_seconds) if row.waited_seconds else None,
        _changed(row),
        row.incomplete_reason or row.proof,
    )


def _state(row: Any) -> str:
    """How the stream stands: `future` where its last run has a time that has not come yet."""
    if row.future_at is not None:
        return FUTURE
    state: str = row.stream_status if row.run_status in READ else row.run_status
    return state


def _remark(row: Any) -> str | None:
    """Why a stream is as it is: its own reason, or the error that ended its run.

    Where a run landed its error is of the streams that did not come well out of it.
    """
    own: str | None = row.incomplete_reason
    error: str | None = row.error
    if row.run_status in READ:
        return own or (None if row.stream_status == StreamStatus.OK else error)
    return error or own


def _took(row: Any) -> str:
    if row.finished_at is None:
        return MIDDLE_OF_A_RUN
    return terminal.span((row.finished_at - row.started_at).total_seconds())


def _fresh_json(row: Any, live: dict[tuple[str, str], int], now: Any) -> dict[str, Any]:
    complete = row.last_complete_at
    return {
        "source": row.source,
        "provider": row.provider,
        "stream": row.stream,
        "records": live.get((row.source, row.stream), 0),
        "last_complete_at": None if complete is None else iso_time(complete),
        "age_seconds": None if complete is None else (now - complete).total_seconds(),
        "future_at": None if row.future_at is None else iso_time(row.future_at),
        "state": row.stream_status if row.future_at is None else FUTURE,
        "run_id": row.last_run_id,
        "run_status": row.run_status,
        "remark": _remark(row),
    }


def _plain(row: Any) -> dict[str, Any]:
    """A row as JSON values; times in ISO 8601."""
    values = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's documented way
    return {
        name: iso_time(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }
