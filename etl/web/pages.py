"""What each page shows of the runs and changes: a question and a connection become values.

Pages of records are in estate; how values look is said in templates.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from etl.extract import list_walk
from etl.history import activity, browse, quarantine
from etl.history import changes as feed
from etl.history import runs as queries
from etl.history.activity import OPERATIONS
from etl.model import COMMITTED, RunStatus, StreamStatus
from etl.web.charts import Chart, pieces, stacked
from etl.web.query import STREAMS, PageQuery

Values = Mapping[str, Any]

MAX_CHART_SPAN = timedelta(days=30)
STATUSES = (
    *(RunStatus.OK, RunStatus.PARTIAL, RunStatus.HELD, RunStatus.PARKED, RunStatus.RUNNING),
    *(RunStatus.DENIED, RunStatus.FAILED, RunStatus.ABORTED, RunStatus.DRY_RUN),
)
SINCE = {"": "any time", "24h": "the last day", "7d": "the last 7 days", "30d": "the last 30 days"}
NEWEST_CHANGES = 8
MAX_LISTS = 300


def overview(connection: Connection, asked: PageQuery) -> Values:
    """Sources and how fresh they are, runs and changes over time, the latest changes."""
    fresh = queries.freshness(connection, now=asked.then, until=asked.moment)
    counts = activity.last_complete(connection, asked.moment)
    span = activity.span(connection, asked.moment)
    return {
        "fresh": [(row, counts.get((row.source, row.stream)), _state(row)) for row in fresh],
        "records": sum(counts.values()),
        "sources": len({row.source for row in fresh}),
        "oldest": _oldest(fresh),
        "charts": _charts(connection, span, asked.then) if span else (),
        "waiting": activity.open_rejects(connection, asked.moment),
        "events": feed.events(
            connection, feed.ChangeQuery(until=asked.moment), None, most=NEWEST_CHANGES
        ),
    }


def _oldest(fresh: Any) -> datetime | None:
    """When the stream that is the least fresh was complete; None when one never was."""
    times = [row.last_complete_at for row in fresh if row.stream_status != StreamStatus.UNAVAILABLE]
    return None if None in times or not times else min(times)


def _state(row: Any) -> str:
    if row.future_at is not None:
        return "future"
    state: str = row.stream_status if row.run_status in COMMITTED else row.run_status
    return state


def _charts(
    connection: Connection, span: tuple[datetime, datetime], until: datetime
) -> tuple[Chart, Chart]:
    """Runs and changes over time, up to the moment looked at or a while after the last run."""
    end = min(until, max(span[1] + timedelta(minutes=5), until - MAX_CHART_SPAN))
    time = pieces(max(span[0], end - MAX_CHART_SPAN), end)
    ended = activity.runs_by_time(connection, time.begin, time.end, time.letters)
    changed = activity.changes_by_time(connection, time.begin, time.end, time.letters)
    return (
        stacked("Runs", time, ((row.piece, row.status, row.number) for row in ended), STATUSES),
        stacked("Changes", time, _by_operation(changed), OPERATIONS),
    )


def _by_operation(rows: Any) -> Iterator[tuple[str, str, int]]:
    for row in rows:
        for name in OPERATIONS:
            yield row.piece, name, getattr(row, name)


def wanted_changes(asked: PageQuery) -> feed.ChangeQuery:
    """Which changes a page, a table or a feed of this question has."""
    return feed.ChangeQuery(
        since=asked.values["since"],
        until=asked.moment,
        source=asked.values["source"] or None,
        stream=asked.values["stream"],
        operation=asked.values["operation"],
        text=asked.values["q"],
        run_id=asked.values["run"],
    )


def changes(connection: Connection, asked: PageQuery) -> Values:
    """The change feed, the newest first."""
    found = feed.events(connection, wanted_changes(asked), asked.values["before"])
    return {
        "events": found,
        "all_sources": browse.sources(connection),
        "streams": STREAMS,
        "operations": OPERATIONS,
        "ages": SINCE,
        "look": feed.LOOK,
    }


def runs(connection: Connection, asked: PageQuery) -> Values:
    """The newest runs."""
    found, before = activity.run_page(
        connection,
        source=asked.values["source"] or None,
        status=asked.values["status"],
        until=asked.moment,
        before=asked.values["before"],
    )
    return {
        "runs": found,
        "sums": activity.sums(connection, [row.run_id for row in found]),
        "before": before,
        "all_sources": browse.sources(connection),
        "statuses": STATUSES,
    }


def run(connection: Connection, asked: PageQuery) -> Values:
    """One run: its streams, the lists that were not complete, what it changed."""
    run_id = asked.values["run"]
    found, streams = queries.one_run(connection, run_id)
    if found is None:
        raise HTTPException(404, f"There is no run {run_id}.")
    lists = [{"stream": row.stream, **one} for row in streams for one in list_walk.lists(row.walks)]
    return {
        "run": found,
        "streams": [row for row in streams if row.parent_id == ""],
        "lists": lists[:MAX_LISTS],
        "all_lists": len(lists),
        "partitions": [row for row in streams if row.parent_id != ""],
        "events": feed.events(
            connection, feed.ChangeQuery(run_id=run_id), None, most=NEWEST_CHANGES
        ),
        "later": asked.moment is not None and found.started_at > asked.moment,
    }


def rejects(connection: Connection, asked: PageQuery) -> Values:
    """Items that could not be used."""
    state = asked.values["state"]
    found, before = activity.reject_page(
        connection,
        source=asked.values["source"] or None,
        state=state,
        until=asked.moment,
        before=asked.values["before"],
    )
    return {
        "rejects": found,
        "before": before,
        "state": state,
        "all_sources": browse.sources(connection),
    }


def drift(connection: Connection, asked: PageQuery) -> Values:
    """What is new about the shape of items that were stored, the newest first."""
    wanted = quarantine.DriftAsked(
        source=asked.values["source"] or None,
        kind=asked.values["kind"],
        until=asked.moment,
        before=asked.values["before"],
    )
    found, before = quarantine.drift(connection, wanted, most=activity.PAGE)
    return {
        "drift": found,
        "before": before,
        "kinds": quarantine.KINDS,
        "all_sources": browse.sources(connection),
    }
