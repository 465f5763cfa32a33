"""Dumps loaded in the order of time give the history of the syncs that made them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from sqlalchemy import Engine

from etl.errors import ConfigError, StoreError
from etl.sandbox import Sandbox, Sizes, World
from tests.conftest import Databases
from tests.support.database import contents, count, differing, rows
from tests.support.internals.database import changes, reading, stored
from tests.support.internals.running import (
    PROVIDERS,
    Load,
    RunOptions,
    Settings,
    job_of,
    known_identity,
    load_archive,
    plan_load,
    scopes_of,
)
from tests.support.internals.values import Request, RunReport
from tests.support.runs import SOURCES, hour, settings_for, sync, sync_all

DAYS = 15


FEW = Sizes(ld_projects=4, ld_environments=1, ld_layers=2, statsig_layers=10, layers_projects=8)


def archiving(sandbox: Sandbox, folder: Path) -> Settings:
    tables: dict[str, Any] = {name: {"archive": {"dir": str(folder)}} for name in SOURCES}
    return settings_for(sandbox, **tables)


def load(engine: Engine, settings: Settings, name: str, folder: Path, **wish) -> list[RunReport]:
    planned = plan_load(engine, settings, name, folder)
    return [report for _, report in load_archive(engine, settings, planned, RunOptions(**wish))]


@dataclass(frozen=True)
class Month:
    """Daily syncs, and their archive."""

    folder: Path
    settings: Settings
    engine: Engine


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Month]:
    folder = tmp_path_factory.mktemp("archive")
    with Sandbox(World(3, FEW)) as sandbox, databases("sqlite") as engine:
        settings = archiving(sandbox, folder)
        for day in range(DAYS):
            sync_all(engine, settings, hour(24 * day))
            if day % 3:  # on some days nothing happens
                sandbox.world.evolve(changed=0.1, deleted=4, renamed=2, created=4, restored=3)
        yield Month(folder=folder, settings=settings, engine=engine)


@pytest.fixture
def sqlite(databases: Databases) -> Iterator[Engine]:
    with databases("sqlite") as engine:
        yield engine


def test_daily_dumps_give_the_history_of_daily_syncs(month: Month, engine: Engine) -> None:
    # LaunchDarkly's has every kind of change; the two others are loaded on one database only
    names = SOURCES if engine.dialect.name == "sqlite" else ["ld"]
    for name in names:
        load(engine, month.settings, name, month.folder)
    assert contents(engine) == contents(month.engine, sources=names)
    for operation in ("created", "updated", "deleted", "restored"):
        assert count(engine, "changes", f"operation = '{operation}'") > 10


def first_dumps(month: Month, engine: Engine, name: str, number: int) -> Load:
    planned = plan_load(engine, month.settings, name, month.folder)
    return replace(planned, dumps=planned.dumps[:number])


def test_the_dumps_of_runs_that_are_known_are_not_loaded(month: Month) -> None:
    for name in SOURCES:
        planned = plan_load(month.engine, month.settings, name, month.folder)
        assert (planned.dumps, planned.known) == ([], DAYS)


def test_a_load_that_was_killed_goes_on_behind_the_last_dump(month: Month, sqlite: Engine) -> None:
    loading = load_archive(
        sqlite, month.settings, first_dumps(month, sqlite, "ly", 9), RunOptions()
    )
    for _ in range(4):
        next(loading)
    del loading
    rest = plan_load(sqlite, month.settings, "ly", month.folder)
    assert (rest.dumps[0].at, rest.known) == (hour(24 * 4), 4)


def test_a_sync_in_the_middle_of_a_load_ends_it_and_no_time_is_bent(
    month: Month, sqlite: Engine
) -> None:
    loading = load_archive(
        sqlite, month.settings, first_dumps(month, sqlite, "ly", 5), RunOptions()
    )
    next(loading)
    with Sandbox(World(3, FEW)) as sandbox:
        sync(sqlite, settings_for(sandbox), "ly", hour(24 * 40))
    [(_, report)] = list(loading)
    assert report.status == "failed"
    assert "another run of ly landed since" in (report.error or "")
    assert {row["observed_at"] for row in rows(sqlite, changes)} <= {hour(0), hour(24 * 40)}


def test_dumps_older_than_what_is_known_are_refused_with_the_moments(
    month: Month, sqlite: Engine
) -> None:
    with Sandbox(World(3, FEW)) as sandbox:
        sync(sqlite, settings_for(sandbox), "st", hour(24 * 40))
    with pytest.raises(
        StoreError, match=rf"{DAYS} dumps, the first of 2026-11-01 00:00:00Z.*known from"
    ):
        plan_load(sqlite, month.settings, "st", month.folder)


def test_syncs_go_on_after_a_load_as_if_they_had_always_been(month: Month, sqlite: Engine) -> None:
    """The scope, and whose the key is, were loaded too: what is gone is deleted at once."""
    planned = first_dumps(month, sqlite, "st", 2)
    assert len(list(load_archive(sqlite, month.settings, planned, RunOptions()))) == 2
    with Sandbox(World(3, FEW)) as sandbox:
        found = settings_for(sandbox)
        moved = replace(found.sources["st"], base_url=month.settings.sources["st"].base_url)
        job = job_of(moved, found, RunOptions())
    with reading(sqlite) as connection:
        before = stored(connection, "st")
    identity = known_identity(job, before)
    assert identity is not None
    assert not scopes_of(job, identity, before).is_new("layers")


def test_a_folder_without_a_dump_is_said_to_have_none(
    month: Month, sqlite: Engine, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds no dump of st"):
        plan_load(sqlite, month.settings, "st", tmp_path)


LISTS = {
    "ld": "/api/v2/projects?limit=3&offset=0&sort=createdOn&expand=environments",
    "st": "/console/v1/layers?limit=4&page=1",
    "ly": "/v1/projects?limit=3",
}
PROJECT = ("/console/v1/project", "/console/v1/settings/project")
STREAM = {"ld": "projects", "st": "layers", "ly": "projects"}


def asked(settings: Settings, name: str, target: str) -> Any:
    source = settings.sources[name]
    headers = PROVIDERS[source.provider].headers(source.api_key.get_secret_value())
    answer = httpx.get(f"{source.base_url}{target}", headers=headers, timeout=60)
    return answer.raise_for_status().json()


def saved(settings: Settings, name: str, folder: Path) -> None:
    """What a person would save with curl: the pages of each list, as they come."""
    for number, target in enumerate(PROJECT if name == "st" else ()):
        write(folder / "projects" / f"{number}.json", asked(settings, name, target))
    provider, stream = PROVIDERS[settings.sources[name].provider], STREAM[name]
    path, _, query = LISTS[name].partition("?")
    request: Request | None = Request(path, tuple(parse_qsl(query)))
    number = 0
    while request is not None:
        target = request.path + (f"?{urlencode(request.params)}" if request.params else "")
        body, number = asked(settings, name, target), number + 1
        write(folder / stream / f"page-{number}.json", body)
        request = provider.stream(stream).read_page(body, request).next
        for project in body["items"] if name == "ld" else ():
            key = project["key"]
            layers = asked(settings, name, f"/api/v2/projects/{key}/layers")
            write(folder / "layers" / f"{key}.json", layers)
            if project["environments"]["totalCount"] > len(project["environments"]["items"]):
                inner = asked(settings, name, f"/api/v2/projects/{key}/environments?limit=100")
                write(folder / "environments" / f"{key}.json", inner)


def write(path: Path, body: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize("name", SOURCES)
def test_plain_pages_in_folders_named_by_their_time_load_like_syncs(
    both: tuple[Engine, Engine], name: str, tmp_path: Path
) -> None:
    synced, loaded = both
    with Sandbox(World(5, FEW)) as sandbox:
        settings = settings_for(sandbox)
        for day in range(4):
            sync(synced, settings, name, hour(24 * day))
            saved(settings, name, tmp_path / f"{hour(24 * day):%Y-%m-%dT%H%MZ}")
            sandbox.world.evolve(changed=0.2, deleted=2, renamed=1, created=2, restored=1)
        reports = load(loaded, settings, name, tmp_path)
        told = [(report.status, report.error, report.notes) for report in reports]
        assert [report.status for report in reports] == ["ok"] * 4, told
        columns = "stream, key, operation, observed_at, project_key, version"
        assert feed(loaded, columns) == feed(synced, columns)
        assert len(feed(loaded, columns)) > 20
        assert sync(loaded, settings, name, hour(96), full=True).status == "ok"
        sync(synced, settings, name, hour(96))
        assert differing(synced, loaded) <= {"changes"}  # a walk tells what a 404 told


def feed(engine: Engine, columns: str) -> list[str]:
    found = rows(engine, changes, "stream <> 'projects' OR source <> 'st'")
    return sorted(str([row[one] for one in columns.split(", ")]) for row in found)


def test_pages_that_do_not_reach_the_end_prove_no_deletion(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(World(5, FEW)) as sandbox:
        settings = settings_for(sandbox)
        for day in range(2):
            saved(settings, "ly", tmp_path / f"{hour(24 * day):%Y%m%d}")
    last = max((tmp_path / f"{hour(24):%Y%m%d}" / "projects").iterdir())
    last.unlink()
    first, second = load(sqlite, settings, "ly", tmp_path)
    assert (first.status, second.status) == ("ok", "failed")
    assert "is the last file, not the last page by its own word" in (second.error or "")
    assert count(sqlite, "projects", "is_deleted") == 0
