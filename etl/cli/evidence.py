"""The evidence report of a run or a period: one HTML file that opens anywhere, offline."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl import __version__
from etl.cli import context, lookup, terminal
from etl.cli.changes import stream_of
from etl.cli.export import opened
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.reports.evidence_rows import EvidenceQuery

SINCE = "7d"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceOptions:
    """What a person asks to be told of: a run, or a time."""

    since: str | None = None
    until: str | None = None
    run: int | None = None
    source: str | None = None
    stream: str | None = None


def write(common: context.Common, wish: EvidenceOptions, out: Path | None, *, force: bool) -> None:
    """Writes the report to a file, or to stdout where none is named."""
    from etl.operations.sync import utc_now
    from etl.reports import evidence_rows
    from etl.reports.evidence_page import page

    now = utc_now()
    with context.reading(common) as connection:
        title, asked = _asked(common, connection, wish, now)
        found = evidence_rows.gather(
            connection, asked, title=title, made_at=now, version=__version__
        )
    with opened(out, force=force) as file:
        file.write(page(found).encode())
    if out is not None:
        terminal.say(f"{terminal.count(found.total(), 'change')} told in {out}")


def _asked(
    common: context.Common, connection: "Connection", wish: EvidenceOptions, now: datetime
) -> "tuple[str, EvidenceQuery]":
    from etl.history import runs
    from etl.reports.evidence_rows import EvidenceQuery

    lookup.ensure_source(common, connection, wish.source)
    stream = None if wish.stream is None else stream_of(wish.stream)
    if wish.run is None:
        begin = terminal.moment(wish.since or SINCE, now)
        end = now if wish.until is None else terminal.moment(wish.until, now, "--until", ahead=True)
        if begin > end:
            raise ConfigError(f"--since {terminal.time(begin)} is after {terminal.time(end)}")
        title = f"What changed, {begin:%-d %B %Y} to {end:%-d %B %Y}"
        return title, EvidenceQuery(begin=begin, end=end, source=wish.source, stream=stream)
    if wish.since is not None or wish.until is not None:
        raise ConfigError("--run names one run; leave out --since and --until")
    found, _ = runs.one_run(connection, wish.run)
    if found is None:
        raise ConfigError(f"there is no run {wish.run}; `etl runs` lists them")
    at = found.observed_at or found.started_at
    title = f"Run {found.run_id} of {found.source}"
    asked = EvidenceQuery(begin=at, end=at, source=found.source, stream=stream, run_id=found.run_id)
    return title, asked
