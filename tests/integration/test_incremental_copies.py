"""Copies that follow `change_id`, as docs/reporting.md tells, miss nothing.

The tests of the order of commits force what happens by chance otherwise: a run is stopped inside of
its last transaction by a trigger that waits for a lock of the test's, while the run of another
source comes by.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, text

from etl.sandbox import Sandbox
from tests.conftest import Databases
from tests.support.internals.database import change_fields, changes
from tests.support.internals.running import RunOptions, Settings, apply, plan, reprocess, wanted_of
from tests.support.internals.values import WHOLE
from tests.support.runs import settings_for, small, sync, sync_all
from tests.support.waiting import until

GATE = 77  # the advisory lock that the test holds, and at which the first source waits


@pytest.fixture
def postgres(databases: Databases) -> Iterator[Engine]:
    with databases("postgres") as engine:
        yield engine


class Consumer:
    """Copies incrementally, as Airbyte, dlt and dbt do: rows beyond the largest id it has."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.copied: list[int] = []

    def copy(self) -> None:
        last = max(self.copied, default=0)
        query = text("SELECT change_id FROM changes WHERE change_id > :last ORDER BY change_id")
        with self.engine.connect() as connection:
            self.copied += connection.execute(query, {"last": last}).scalars()

    def missed(self) -> set[int]:
        with self.engine.connect() as connection:
            every = set(connection.execute(text("SELECT change_id FROM changes")).scalars())
        return every - set(self.copied)


@contextmanager
def stopped(engine: Engine, table: str, *, at_commit: bool) -> Iterator[None]:
    """Whoever writes rows of the source `ld` to this table waits until the block ends."""
    timing = "CONSTRAINT TRIGGER gate AFTER" if at_commit else "TRIGGER gate BEFORE"
    deferred = "DEFERRABLE INITIALLY DEFERRED" if at_commit else ""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE {timing} INSERT OR UPDATE ON {table} {deferred} FOR EACH ROW "
                "WHEN (NEW.source = 'ld') EXECUTE FUNCTION gate()"
            )
        )
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({GATE})"))
        try:
            yield
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({GATE})"))
            connection.rollback()


def waiting(engine: Engine) -> int:
    """How many sessions wait for an advisory lock."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    query += " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def loads(engine: Engine, settings: Settings) -> Any:
    return sync(engine, settings, "ld")


def backfills(engine: Engine, settings: Settings) -> Any:
    return sync(engine, settings, "ld", backfill=WHOLE)


def applies(engine: Engine, settings: Settings) -> Any:
    _, made = plan(engine, settings, "ld", RunOptions())
    assert made is not None
    return apply(engine, settings, [made])


def reprocesses(engine: Engine, settings: Settings) -> Any:
    """Writes the events of ld again, which a hand has deleted."""
    return reprocess(engine, wanted_of(settings.sources["ld"]))


@pytest.mark.parametrize("first", [loads, backfills, applies, reprocesses])
def test_who_remembers_the_largest_id_misses_no_change(
    postgres: Engine, first: Callable[[Engine, Settings], Any]
) -> None:
    with Sandbox(small()) as sandbox, ThreadPoolExecutor(2) as threads:
        settings, consumer = settings_for(sandbox), Consumer(postgres)
        if first is reprocesses:
            sync(postgres, settings, "ld")
            with postgres.begin() as connection:
                connection.execute(delete(change_fields))
                connection.execute(delete(changes))
        with stopped(postgres, "changes", at_commit=True):
            slow: Future[Any] = threads.submit(first, postgres, settings)
            assert until(lambda: waiting(postgres) == 1 or slow.done())
            quick = threads.submit(sync, postgres, settings, "st")
            assert until(lambda: waiting(postgres) == 2 or quick.done())
            consumer.copy()
        slow.result()
        assert quick.result().status == "ok"
        consumer.copy()
    assert not consumer.missed()
    assert len(consumer.copied) > 30


def test_a_long_merge_keeps_no_other_source_waiting(postgres: Engine) -> None:
    with Sandbox(small()) as sandbox, ThreadPoolExecutor(2) as threads:
        settings, consumer = settings_for(sandbox), Consumer(postgres)
        with stopped(postgres, "layers", at_commit=False):
            slow = threads.submit(sync, postgres, settings, "ld")
            assert until(lambda: waiting(postgres) == 1 or slow.done())
            assert threads.submit(sync, postgres, settings, "st").result().status == "ok"
            assert not slow.done()
            consumer.copy()
            assert consumer.copied
        assert slow.result().status == "ok"
        consumer.copy()
    assert not consumer.missed()


PAGE = (Path(__file__).parents[2] / "docs" / "reporting.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Copying incrementally")[2].partition("\n## ")[0]
FEED, TO_COPY, REWRITES = re.findall(r"^```sql\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def test_copies_follow_renamed_projects_and_their_parts(engine: Engine) -> None:
    copied: dict[int, Any] = {}
    last = 0
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for _ in range(5):
            sync_all(engine, settings)
            with engine.connect() as connection:
                newest = connection.execute(text("SELECT max(change_id) FROM changes")).scalar()
                query = TO_COPY.replace("change_id > 0", f"change_id > {last}")
                found = connection.execute(text(query)).mappings().all()
                copied |= {row["layer_id"]: row for row in found}
                last = newest or 0
                whole = re.sub("WHERE.*ORDER", "ORDER", TO_COPY, flags=re.DOTALL)
                assert [*connection.execute(text(whole)).mappings()] == [
                    copied[key] for key in sorted(copied)
                ]
            sandbox.world.evolve(changed=0.1, renamed=2, deleted=2, created=3)
        stale = {row["project_key"] for row in copied.values()}
    assert any(".renamed" in key for key in stale if key)


def test_the_feed_read_page_by_page_is_the_whole_feed(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve(changed=0.5)
        sync_all(engine, settings)
    seen: list[tuple[int, str | None]] = []
    with engine.connect() as connection:
        page = FEED.replace("LIMIT 1000", "LIMIT 50")
        last = 0
        while found := connection.execute(text(page.replace("> 0", f"> {last}"))).all():
            # a change whose fields go on in the next page is read again
            whole = [row for row in found if row.change_id < found[-1].change_id] or found
            whole = found if len(found) < 50 else whole
            seen += [(row.change_id, row.path) for row in whole]
            last = whole[-1].change_id
        every = connection.execute(text("SELECT change_id, path FROM change_feed")).all()
        kinds = {row.kind for row in connection.execute(text(REWRITES))}
        assert kinds == {"sync"}
    assert sorted(seen, key=str) == sorted(map(tuple, every), key=str)
