"""Pages of records and changes: each once, in order, now and then, however short a look."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import Connection, Engine, text

from tests.conftest import BOTH, Databases
from tests.support.console import tell_story
from tests.support.internals.database import (
    RECORDS,
    activity,
    browse,
    feed,
    live_counts,
    rows,
    snapshot,
)
from tests.support.runs import hour

MOMENTS = (None, hour(0), hour(31), hour(60), hour(90))
SOURCES = ("ld", "ly", "st")


@pytest.fixture(scope="module", params=BOTH)
def past(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    with databases(request.param) as engine:
        tell_story(engine)
        yield engine


@pytest.fixture
def connection(past: Engine) -> Iterator[Connection]:
    with snapshot(past) as found:
        yield found


def walked(connection: Connection, wanted: browse.RecordQuery, most: int, look: int) -> list[int]:
    """The ids of all pages, and that no page is empty without a reason."""
    ids: list[int] = []
    after: browse.Place | None = None
    while True:
        found = browse.records(connection, wanted, after, most=most, look=look)
        assert len(found.rows) == most or found.searching or found.after is None
        ids += [getattr(row, RECORDS[wanted.stream].id) for row in found.rows]
        after = found.after
        if after is None:
            return ids


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stream", RECORDS)
@pytest.mark.parametrize(("most", "look"), [(1000, 100_000), (7, 100_000), (7, 5)])
def test_the_pages_hold_the_live_records_of_the_moment_each_once(
    connection: Connection, stream: str, moment: datetime | None, most: int, look: int
) -> None:
    table = rows(stream, moment)
    true = {row[0] for row in connection.execute(table.select().with_only_columns(table.c[0]))}
    wanted = browse.RecordQuery(stream=stream, sources=SOURCES, moment=moment)
    found = walked(connection, wanted, most, look)
    assert len(found) == len(set(found))
    assert set(found) == true


def test_the_records_of_one_project_come_in_the_order_of_their_ids(connection: Connection) -> None:
    wanted = browse.RecordQuery(stream="layers", sources=("st",), project_id=6)
    query = text("SELECT layer_id FROM layers_current WHERE project_id = 6 ORDER BY layer_id")
    true = list(connection.execute(query).scalars())
    assert walked(connection, wanted, 5, 3) == true
    assert len(true) > 20


@pytest.mark.parametrize("moment", [None, hour(60)])
@pytest.mark.parametrize("least", [0, 60, 101])
def test_layers_are_found_by_how_full_they_are(
    connection: Connection, least: int, moment: datetime | None
) -> None:
    held = rows("layer_reservations", moment)
    used: dict[tuple[int, str], int] = {}
    for row in connection.execute(held.select()):
        place = (row.layer_id, row.environment_key)
        used[place] = used.get(place, 0) + row.reservation_percent
    wanted = browse.RecordQuery(stream="layers", sources=SOURCES, reserved=least, moment=moment)
    live = {row[0] for row in connection.execute(rows("layers", moment).select())}
    true = {layer for (layer, _), percent in used.items() if percent >= least} & live
    assert set(walked(connection, wanted, 50, 10)) == true


def test_the_pages_of_changes_hold_every_change_once_the_newest_first(
    connection: Connection,
) -> None:
    found, before = [], None
    while True:
        page = feed.events(connection, feed.ChangeQuery(), before, most=7, look=20)
        found += [row.change_id for row in page.rows]
        before = page.before
        if before is None:
            break
    true = connection.execute(text("SELECT change_id FROM changes ORDER BY change_id DESC"))
    assert found == list(true.scalars())


def test_changes_are_found_by_time_run_and_record(connection: Connection) -> None:
    def count(asked: feed.ChangeQuery) -> int:
        return len(feed.events(connection, asked, None, most=10_000).rows)

    def true(condition: str) -> int:
        query = text(f"SELECT COUNT(*) FROM changes WHERE {condition}")  # noqa: S608
        return int(connection.execute(query).scalar_one())

    assert count(feed.ChangeQuery(until=hour(0))) == true("run_id <= 3") > 0
    assert count(feed.ChangeQuery(since=hour(31))) == true("run_id > 6") > 0
    assert count(feed.ChangeQuery(run_id=4)) == true("run_id = 4") > 0
    same = "record_id = 1 AND stream = 'projects'"
    assert count(feed.ChangeQuery(record_id=1, stream="projects")) == true(same) > 0
    assert count(feed.ChangeQuery(since=hour(99))) == 0


def test_what_the_last_complete_walks_saw_is_what_is_stored(connection: Connection) -> None:
    assert activity.last_complete(connection, None) == live_counts(connection)
