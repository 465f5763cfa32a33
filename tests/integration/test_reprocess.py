"""Tables made anew from stored payloads are those of a fresh load of the same payloads."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from etl.errors import ConfigError, RunInProgress, StoreError, UnsafeChange
from tests.conftest import BOTH, Databases
from tests.support.database import contents, count, counted_writes, rows
from tests.support.internals.database import RECORDS, findings, snapshot
from tests.support.internals.running import (
    PROVIDERS,
    ReprocessOptions,
    ReprocessResult,
    Settings,
    at_work,
    preview,
    reprocess,
    wanted_of,
)
from tests.support.internals.values import Partition, Record
from tests.support.pasts import DAYS, archived_days, changed_mapping, load, with_stream
from tests.support.runs import SOURCES, hour


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases
) -> Iterator[tuple[Path, Settings]]:
    """Some days of an evolving world."""
    with archived_days(tmp_path_factory.mktemp("archive"), databases) as found:
        yield found


@pytest.mark.parametrize(("name", "kinds"), [("ld", BOTH), ("st", BOTH[1:]), ("ly", BOTH[:1])])
def test_after_a_changed_mapping_the_tables_are_those_of_a_fresh_load(
    archive: tuple[Path, Settings], databases: Databases, name: str, kinds: Sequence[str]
) -> None:
    old = PROVIDERS[SOURCES[name]]
    new = changed_mapping(old)
    with databases("sqlite") as fresh:
        load(fresh, archive, name, new)
        expected = contents(fresh)
    for kind in kinds:
        with databases(kind) as engine:
            load(engine, archive, name, old)
            before = count(engine, "changes")
            assert contents(engine) != expected
            found = reprocess(engine, ReprocessOptions(source=name, provider=new))
            assert contents(engine) == expected
            assert found.rows > before / 2
            assert count(engine, "changes") <= before
            again = reprocess(engine, ReprocessOptions(source=name, provider=new))
            assert again.counts == {}


@pytest.fixture(scope="module", params=BOTH)
def loaded(
    request: pytest.FixtureRequest, databases: Databases, archive: tuple[Path, Settings]
) -> Iterator[Engine]:
    """LaunchDarkly's past, taken by this code; each test leaves it as it was."""
    with databases(request.param) as engine:
        load(engine, archive, "ld", PROVIDERS["launchdarkly"])
        yield engine


@pytest.fixture(scope="module")
def once(databases: Databases, archive: tuple[Path, Settings]) -> Iterator[Engine]:
    """The same on one database."""
    with databases("sqlite") as engine:
        load(engine, archive, "ld", PROVIDERS["launchdarkly"])
        yield engine


LD = ReprocessOptions(source="ld", provider=PROVIDERS["launchdarkly"])


def test_with_the_same_code_nothing_is_different_and_nothing_written(loaded: Engine) -> None:
    with counted_writes(loaded) as written:
        assert preview(loaded, LD).counts == {}
        assert reprocess(loaded, LD).moments == DAYS
    assert set(written) <= {"runs", "leases"}


def test_what_was_spoilt_by_hand_is_told_and_made_right_again(loaded: Engine) -> None:
    before, ids = contents(loaded), rows(loaded, "layers", "source = 'ld'")
    with loaded.begin() as connection:
        connection.execute(text("UPDATE layers SET description = 'spoilt', name = 'x'"))
        connection.execute(text("DELETE FROM change_fields"))
        connection.execute(text("UPDATE environment_history SET color = 'none' WHERE version = 1"))
        connection.execute(text("DELETE FROM layer_reservations"))
    found = preview(loaded, LD)
    assert found.counts["layers", "changed"] == count(loaded, "layers")
    assert found.counts["layer_reservations", "added"] > 0
    sample = next(one for one in found.samples if one.table == "layers")
    assert sample.fields["name"][0] == "x"
    assert contents(loaded) != before
    assert reprocess(loaded, LD).counts == found.counts
    assert contents(loaded) == before
    told = rows(loaded, "layers", "source = 'ld'")
    assert {row["layer_id"] for row in told} == {row["layer_id"] for row in ids}


def test_one_stream_alone_can_be_made_anew(once: Engine) -> None:
    with once.begin() as connection:
        for stream in ("projects", "layers"):
            connection.execute(update(RECORDS[stream].current).values(content_hash="1:none"))
    reprocess(once, replace(LD, streams=["layers"]))
    assert count(once, "layers", "content_hash = '1:none'") == 0
    assert count(once, "projects", "content_hash = '1:none'") > 0
    reprocess(once, LD)


def test_a_payload_that_the_code_takes_no_more_stays_unless_forced(
    engine: Engine, archive: tuple[Path, Settings]
) -> None:
    load(engine, archive, "ld", LD.provider)
    stream = LD.provider.stream("projects")

    def transform(item: Any, partition: Partition) -> Record:
        taken = {**item, "name": 5} if item["key"] == "my-project" else item
        return stream.to_record(taken, partition)

    new = replace(LD, provider=with_stream(LD.provider, "projects", to_record=transform))
    before = contents(engine)
    with pytest.raises(UnsafeChange, match=r"payloads of 1 records of ld.*name: Input"):
        reprocess(engine, new)
    assert contents(engine) == before
    reprocess(engine, replace(new, force=True))
    assert count(engine, "projects", "key = 'my-project'") == 0
    assert count(engine, "rejects", "path = 'name'") == 1
    with snapshot(engine) as connection:
        [references] = [one for one in findings(connection) if one.check == "references"]
    assert references.ok


class Stopped(Exception):
    """Something that ends a process."""


def test_what_is_stopped_before_the_commit_has_changed_nothing(once: Engine) -> None:
    before = contents(once)

    def stop(found: ReprocessResult) -> None:
        assert found.rows > 0
        raise Stopped

    new = replace(LD, provider=changed_mapping(LD.provider))
    with pytest.raises(Stopped):
        reprocess(once, new, shown=stop)
    assert contents(once) == before
    assert count(once, "leases") == 0
    assert count(once, "runs", "status = 'running'") == 0


def test_a_source_that_is_being_synced_is_left_alone(once: Engine) -> None:
    from tests.support.internals.database import runs
    from tests.support.internals.running import lives

    with at_work() as holder:
        with once.begin() as connection:
            runs.acquire(connection, "ld", holder, hour(0), lives)
        with pytest.raises(RunInProgress):
            reprocess(once, LD, clock=lambda: hour(0))
        with once.begin() as connection:
            runs.release(connection, "ld", holder)


def test_a_past_that_was_pruned_is_not_made_up(databases: Databases, archive) -> None:
    with databases("sqlite") as engine:
        load(engine, archive, "ly", PROVIDERS["layers"])
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM project_history WHERE version = 1"))
        with pytest.raises(StoreError, match=r"before 2026-11-\d\d 00:00:00Z was pruned"):
            preview(engine, ReprocessOptions(source="ly", provider=PROVIDERS["layers"]))


def test_a_stream_that_the_provider_has_not_is_said(archive: tuple[Path, Settings]) -> None:
    with pytest.raises(ConfigError, match="has no stream layers; it has projects"):
        wanted_of(archive[1].sources["ly"], ["layers"])
