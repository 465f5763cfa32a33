"""A database made anew from its archive is that of a fresh load; what the archive lacks stays."""

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.errors import UnsafeChange
from etl.sandbox import Sandbox, World
from tests.conftest import BOTH, Copies, Databases
from tests.support.database import contents, count, counted_writes
from tests.support.history import violations
from tests.support.internals.database import reading, stored
from tests.support.internals.running import (
    PROVIDERS,
    ReprocessOptions,
    ReprocessResult,
    Settings,
    SourceDumps,
    preview,
    reprocess,
)
from tests.support.internals.values import Partition, Provider, Record, found_in
from tests.support.pasts import DAYS, FEW, archived_days, changed_mapping, load, with_stream
from tests.support.runs import BIG_PROJECT, SOURCES, hour, settings_for, sync

Archive = tuple[Path, Settings]
Loaded = Callable[[str], AbstractContextManager[Engine]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Archive]:
    """Some days of an evolving world."""
    with archived_days(tmp_path_factory.mktemp("archive"), databases) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(archive: Archive, databases: Databases, copies: Copies) -> Iterator[Loaded]:
    """`with loaded("ly") as engine`: an SQLite file with all of that source, by today's code."""
    prepared: dict[str, Engine] = {}
    with ExitStack() as stack:

        @contextmanager
        def copy(name: str) -> Iterator[Engine]:
            if name not in prepared:
                prepared[name] = stack.enter_context(databases("sqlite"))
                load(prepared[name], archive, name, PROVIDERS[SOURCES[name]])
            with copies(prepared[name]) as engine:
                yield engine

        yield copy


@pytest.fixture
def sqlite(databases: Databases) -> Iterator[Engine]:
    with databases("sqlite") as engine:
        yield engine


def wanted(archive: Archive, name: str, provider: Provider | None = None) -> ReprocessOptions:
    """All of a source, from all dumps."""
    folder, settings = archive
    provider = provider or PROVIDERS[SOURCES[name]]
    found = found_in(folder, name, provider)
    dumps = SourceDumps(settings=settings, dumps=found.dumps, left_out=found.left_out)
    return ReprocessOptions(source=name, provider=provider, dumps=dumps)


def without(archive: Archive, folder: Path, name: str, days: Collection[int]) -> Archive:
    """The archive, without the runs of these days."""
    shutil.copytree(archive[0] / name, folder / name)
    indexes = sorted((folder / name / "runs").iterdir())
    for day in days:
        indexes[day].unlink()
    return folder, archive[1]


def fresh(databases: Databases, archive: Archive, name: str, provider: Provider) -> Any:
    with databases("sqlite") as engine:
        load(engine, archive, name, provider)
        return contents(engine)


@pytest.mark.parametrize(("name", "kinds"), [("ld", BOTH[:1]), ("st", BOTH[1:])])
def test_what_code_tells_apart_now_that_was_one_before_comes_from_the_archive(
    archive: Archive, databases: Databases, name: str, kinds: Collection[str]
) -> None:
    new = PROVIDERS[SOURCES[name]]
    old = changed_mapping(new)
    expected = fresh(databases, archive, name, new)
    for kind in kinds:
        with databases(kind) as engine:
            load(engine, archive, name, old)
            assert contents(engine) != expected
            found = reprocess(engine, wanted(archive, name, new))
            assert (found.dumps, found.moments, found.left_out) == (DAYS, DAYS, ())
            assert contents(engine) == expected
            assert violations(engine) == []
            with counted_writes(engine) as written:
                assert reprocess(engine, wanted(archive, name, new)).counts == {}
            assert set(written) <= {"runs", "leases"}


def test_what_would_change_is_told_first_and_is_more_than_stored_payloads_can_tell(
    archive: Archive, sqlite: Engine
) -> None:
    new = PROVIDERS["statsig"]
    load(sqlite, archive, "st", changed_mapping(new))
    before = contents(sqlite)
    stored_only = preview(sqlite, ReprocessOptions(source="st", provider=new))
    found = preview(sqlite, wanted(archive, "st", new))
    assert contents(sqlite) == before
    assert found.rows > stored_only.rows > 0
    assert reprocess(sqlite, wanted(archive, "st", new)).counts == found.counts


@pytest.mark.parametrize("days", [(0,), (0, 1), (2,), (1, 3), (DAYS - 1,), (0, 2, 4)])
def test_what_the_archive_has_not_comes_from_what_the_runs_stored(
    archive: Archive, loaded: Loaded, tmp_path: Path, days: Collection[int]
) -> None:
    with loaded("ld") as sqlite:
        before = contents(sqlite)
        found = reprocess(sqlite, wanted(without(archive, tmp_path, "ld", days), "ld"))
        assert (found.counts, found.moments, found.dumps) == ({}, DAYS, DAYS - len(days))
        assert contents(sqlite) == before


def test_a_run_that_saw_no_change_then_and_does_now_has_its_events_at_its_time(
    both: tuple[Engine, Engine], databases: Databases, tmp_path: Path
) -> None:
    new = PROVIDERS["layers"]
    old = with_stream(new, "projects", volatile_fields=frozenset({"name", "updatedAt"}))
    with Sandbox(World(9, FEW)) as sandbox, databases("sqlite") as synced:
        settings = settings_for(sandbox, ly={"archive": {"dir": str(tmp_path)}})
        for day in range(3):
            assert sync(synced, settings, "ly", hour(24 * day)).status == "ok"
            first, second = sandbox.world.live("layers", "projects")[:2]
            sandbox.world.update("layers", "projects", first.payload["id"], name=f"day {day}")
            if day:  # what both codes see is of the last day
                sandbox.world.delete("layers", "projects", second.payload["id"])
    expected = fresh(databases, (tmp_path, settings), "ly", new)
    for engine in both:
        load(engine, (tmp_path, settings), "ly", old)
        assert count(engine, "changes", "operation <> 'created'") == 1
        reprocess(engine, wanted((tmp_path, settings), "ly", new))
        assert contents(engine) == expected
        assert count(engine, "changes", "operation = 'updated'") == 2
        assert violations(engine) == []


def test_dumps_of_runs_that_are_not_known_have_no_place_and_that_is_said(
    archive: Archive, loaded: Loaded
) -> None:
    with loaded("ly") as sqlite:
        before = contents(sqlite)
        with sqlite.begin() as connection:  # as if it had been pruned
            connection.execute(text("UPDATE runs SET observed_at = NULL WHERE run_id = 3"))
        found = preview(sqlite, wanted(archive, "ly"))
        assert found.left_out == ("1 of runs that this database does not have, or has pruned",)
        assert contents(sqlite) == before


def test_dumps_later_than_all_that_is_known_are_no_past_and_said(
    archive: Archive, sqlite: Engine
) -> None:
    load(sqlite, archive, "ly", PROVIDERS["layers"], slice(0, 2))
    found = reprocess(sqlite, wanted(archive, "ly"))
    assert (found.counts, found.moments) == ({}, 2)
    (said,) = found.left_out
    assert said.startswith(f"{DAYS - 2} later than all that is known; `etl backfill")


def test_a_dump_that_cannot_be_read_is_said_and_its_run_is_taken_from_what_it_stored(
    archive: Archive, loaded: Loaded, tmp_path: Path
) -> None:
    with loaded("ly") as sqlite:
        damaged = without(archive, tmp_path, "ly", ())
        index = sorted((tmp_path / "ly" / "runs").iterdir())[2]
        page = json.loads(index.read_text().splitlines()[1])["sha256"]
        (tmp_path / "ly" / "pages" / page[:2] / f"{page}.json.gz").write_bytes(b"")
        found = reprocess(sqlite, wanted(damaged, "ly"))
        assert (found.counts, found.moments) == ({}, DAYS)
        assert any(f"{index.name}: the archive is damaged" in said for said in found.left_out)


@pytest.mark.parametrize(
    ("line", "change", "said"),
    [
        (0, ('"projects":{', '"projects":{"of_old":1,'), "options this one does not know"),
        (1, ('{"', "{'"), "is damaged"),
    ],
)
def test_a_dump_whose_index_todays_code_cannot_read_is_left_out_like_a_damaged_one(
    archive: Archive, loaded: Loaded, tmp_path: Path, line: int, change: tuple[str, str], said: str
) -> None:
    with loaded("ly") as sqlite:
        other = without(archive, tmp_path, "ly", ())
        index = sorted((tmp_path / "ly" / "runs").iterdir())[2]
        lines = index.read_text().splitlines(keepends=True)
        assert change[0] in lines[line]
        lines[line] = lines[line].replace(*change, 1)
        index.write_text("".join(lines))
        found = reprocess(sqlite, wanted(other, "ly"))
        assert (found.counts, found.moments, found.dumps) == ({}, DAYS, DAYS - 1)
        assert [said in one and index.name in one for one in found.left_out] == [True]


def test_what_was_rejected_when_it_came_is_a_record_where_todays_code_takes_it(
    archive: Archive, engine: Engine, databases: Databases
) -> None:
    new = PROVIDERS["layers"]
    stream = new.stream("projects")

    def transform(item: Any, partition: Partition) -> Record:
        return stream.to_record({**item, "name": 5} if item["id"] > "m" else item, partition)

    expected = fresh(databases, archive, "ly", new)
    load(engine, archive, "ly", with_stream(new, "projects", to_record=transform))
    assert count(engine, "rejects") > 0
    reprocess(engine, wanted(archive, "ly", new))
    assert contents(engine) == expected
    assert count(engine, "rejects") == 0


def test_what_todays_code_takes_no_more_stays_unless_forced(
    archive: Archive, loaded: Loaded
) -> None:
    new = PROVIDERS["layers"]
    stream = new.stream("projects")

    def transform(item: Any, partition: Partition) -> Record:
        return stream.to_record({**item, "name": 5}, partition)

    with loaded("ly") as sqlite:
        before = contents(sqlite)
        rejecting = wanted(archive, "ly", with_stream(new, "projects", to_record=transform))
        with pytest.raises(UnsafeChange, match=r"rejects stored payloads of \d+ records of ly"):
            reprocess(sqlite, rejecting)
        assert contents(sqlite) == before
        assert preview(sqlite, rejecting).refusal is not None


def test_deletions_rest_on_the_run_that_proved_them_unless_forced(
    archive: Archive, engine: Engine
) -> None:
    load(engine, archive, "ly", PROVIDERS["layers"])
    with engine.begin() as connection:
        for_once = "SET operation = 'updated' WHERE operation = 'deleted'"
        connection.execute(text(f"UPDATE changes {for_once}"))
    before = contents(engine)
    with pytest.raises(UnsafeChange, match="the archive shows another end"):
        reprocess(engine, wanted(archive, "ly"))
    assert contents(engine) == before
    reprocess(engine, replace(wanted(archive, "ly"), force=True))
    assert violations(engine) == []


def test_a_scope_that_began_in_a_run_without_dump_still_deletes_nothing(
    sqlite: Engine, tmp_path: Path
) -> None:
    """A filter leaves records outside, which no later walk meets; they live all the same."""
    kept = {"archive": {"dir": str(tmp_path / "whole")}}
    narrow = {**kept, "projects": {"filter": "tags:ops"}}
    with Sandbox(World(9, replace(FEW, ld_big_project=BIG_PROJECT))) as sandbox:
        for key in ("my-project", "search"):
            sandbox.world.update("launchdarkly", "projects", key, tags=["ops"])
        settings = settings_for(sandbox, ld=kept)
        for number in range(4):
            assert sync(sqlite, settings, "ld", hour(number)).status == "ok"
            sandbox.world.evolve(changed=0.3)
            settings = settings_for(sandbox, ld=narrow)
    before = contents(sqlite)
    assert count(sqlite, "outside_scope") > 0
    all_of_it = (tmp_path / "whole", settings)
    for number, days in enumerate([(), (1,), (0, 1), (0, 1, 2)]):
        some = without(all_of_it, tmp_path / str(number), "ld", days)
        found: ReprocessResult = reprocess(sqlite, wanted(some, "ld"))
        assert (found.counts, found.left_out, found.moments) == ({}, (), 4), days
        assert contents(sqlite) == before
    with reading(sqlite) as connection:
        assert set(stored(connection, "ld")) == {"projects", "environments", "layers"}


def test_a_record_that_was_lost_comes_back_from_the_archive(
    archive: Archive, loaded: Loaded
) -> None:
    with loaded("st") as sqlite:
        before = contents(sqlite)
        with sqlite.begin() as connection:
            lost = connection.execute(
                text("SELECT layer_id FROM layers WHERE version = 1 ORDER BY layer_id LIMIT 1")
            ).scalar_one()
            for table, column in (
                ("layer_parameters", "layer_id"),
                ("changes", "stream = 'layers' AND record_id"),
                ("layers", "layer_id"),
            ):
                connection.execute(text(f"DELETE FROM {table} WHERE {column} = {lost}"))  # noqa: S608
        spoilt = contents(sqlite)
        found = preview(sqlite, wanted(archive, "st"))
        assert (found.counts["layers", "added"], found.counts["changes", "added"]) == (1, 1)
        assert ("layers", "changed") not in found.counts
        assert contents(sqlite) == spoilt
        assert reprocess(sqlite, wanted(archive, "st")).counts == found.counts
        assert contents(sqlite) == before
