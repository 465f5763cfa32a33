"""The archive: redacted answers, each page once, readable whatever was cut off, kept so long."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import KEYS, Fault, Sandbox
from tests.conftest import Databases
from tests.integration.test_secrets import sdk_keys
from tests.support.internals.running import PROVIDERS, Settings
from tests.support.internals.values import ArchiveRetention, found_in, indexes, page_path, prune
from tests.support.runs import SOURCES, hour, settings_for, small, sync, sync_all


@pytest.fixture
def sqlite(databases: Databases):
    with databases("sqlite") as engine:
        yield engine


def archiving(sandbox: Sandbox, folder: Path, **more) -> Settings:
    tables: dict[str, Any] = {name: {"archive": {"dir": str(folder), **more}} for name in SOURCES}
    return settings_for(sandbox, **tables)


def pages(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/pages/*/*"))


def told(index: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in index.read_text().splitlines()]


def test_no_key_is_in_any_file_of_an_archive(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings, secrets = archiving(sandbox, tmp_path), set(KEYS.values())
        for number in range(2):
            secrets |= sdk_keys(sandbox.world)
            sync_all(sqlite, settings, hour(number))
            sandbox.world.evolve(changed=0.3)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    text = "".join(
        (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        for path in files
    )
    assert len(secrets) > 60
    assert '"apiKey":"fp:' in text
    assert [secret for secret in secrets if secret in text] == []


def test_an_unchanged_page_is_stored_once(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        settings = archiving(sandbox, tmp_path)
        sync(sqlite, settings, "ly", hour(0))
        before = {path: path.stat().st_mtime_ns for path in pages(tmp_path)}
        sync(sqlite, settings, "ly", hour(1))
    assert {path: path.stat().st_mtime_ns for path in pages(tmp_path)} == before
    assert len(indexes(tmp_path / "ly")) == 2


def test_an_index_tells_each_page_and_how_the_run_ended(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        report = sync(sqlite, archiving(sandbox, tmp_path), "ld", hour(0))
    head, *answers, closing = told(indexes(tmp_path / "ld")[0])
    assert (head["archive"], head["source"], head["provider"]) == (1, "ld", "launchdarkly")
    layers = [line for line in answers if line.get("stream") == "layers"]
    assert len(layers) == 5
    for line in layers:
        path, params = line["request"]
        assert path == f"/api/v2/projects/{line['partition']}/layers"
        assert params is None
        assert (tmp_path / "ld" / "pages" / line["sha256"][:2]).is_dir()
    end = closing["end"]
    assert (end["run"], end["status"], end["observed_at"]) == (
        report.run_id,
        "ok",
        hour(0).isoformat(),
    )
    assert end["complete"] == {"projects": True, "environments": True, "layers": True}


def test_a_run_that_does_not_land_is_left_out_with_the_reason(
    sqlite: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        settings = archiving(sandbox, tmp_path)
        sandbox.add_fault(Fault("launchdarkly /api/v2/projects*", "status", arg=500))
        assert sync(sqlite, settings, "ld", hour(0)).status == "parked"
        sandbox.clear_faults()
        assert sync(sqlite, settings, "ld", hour(1), full=True).status == "ok"
    found = found_in(tmp_path, "ld", PROVIDERS["launchdarkly"])
    assert [dump.at for dump in found.dumps] == [hour(1)]
    assert "parked" in found.left_out[0]


def test_an_index_cut_anywhere_is_left_out_and_the_others_are_read(
    sqlite: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        settings = archiving(sandbox, tmp_path)
        sync(sqlite, settings, "ly", hour(0))
        sync(sqlite, settings, "ly", hour(1))
    first, second = indexes(tmp_path / "ly")
    whole = second.read_bytes()
    for size in range(0, len(whole), 97):
        second.write_bytes(whole[:size])
        found = found_in(tmp_path, "ly", PROVIDERS["layers"])
        assert [dump.name for dump in found.dumps] == [first.name]
        assert len(found.left_out) == 1


def test_a_page_that_lost_its_end_with_the_power_is_written_again(
    sqlite: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        settings = archiving(sandbox, tmp_path)
        sync(sqlite, settings, "ly", hour(0))
        [line] = [one for one in told(indexes(tmp_path / "ly")[0]) if one.get("stream")]
        torn = page_path(tmp_path / "ly", line["sha256"])
        whole = torn.read_bytes()
        torn.write_bytes(whole[:50])
        sync(sqlite, settings, "ly", hour(1))
        assert torn.read_bytes() == whole


def test_a_disk_that_cannot_be_written_does_not_stop_a_run(sqlite: Engine, tmp_path: Path) -> None:
    (tmp_path / "st").write_text("in the way")
    with Sandbox(small()) as sandbox:
        report = sync(sqlite, archiving(sandbox, tmp_path), "st", hour(0))
    assert report.status == "ok"
    assert "not archived" in report.notes[-1]


def test_a_dry_run_is_not_archived(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        sync(sqlite, archiving(sandbox, tmp_path), "ly", hour(0), dry_run=True)
    assert list(tmp_path.iterdir()) == []


def evolving(engine: Engine, sandbox: Sandbox, folder: Path, runs: int, **more) -> None:
    settings = archiving(sandbox, folder, **more)
    for number in range(runs):
        sync(engine, settings, "ly", hour(24 * number))
        sandbox.world.evolve(changed=0.5, created=1)


def test_runs_beyond_the_age_go_and_the_pages_that_only_they_name(
    sqlite: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        evolving(sqlite, sandbox, tmp_path, 5)
    folder, before = tmp_path / "ly", pages(tmp_path)
    last = hour(24 * 4)
    would = prune(folder, ArchiveRetention(days=1.5), now=last, dry_run=True)
    assert (would.runs, pages(tmp_path)) == (3, before)
    assert prune(folder, ArchiveRetention(days=1.5), now=last) == would
    found = found_in(tmp_path, "ly", PROVIDERS["layers"])
    assert [dump.at for dump in found.dumps] == [hour(24 * 3), last]
    named = {line["sha256"] for path in indexes(folder) for line in told(path) if "sha256" in line}
    assert {path.name[:64] for path in pages(tmp_path)} == named
    assert len(before) - len(named) == would.pages


def test_the_oldest_runs_beyond_the_size_go_and_the_newest_stays(
    sqlite: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        evolving(sqlite, sandbox, tmp_path, 4)
    size = sum(path.stat().st_size for path in (tmp_path / "ly").rglob("*") if path.is_file())
    prune(tmp_path / "ly", ArchiveRetention(megabytes=0.6 * size / 2**20), now=hour(1000))
    left = indexes(tmp_path / "ly")
    assert 1 <= len(left) < 4
    prune(tmp_path / "ly", ArchiveRetention(megabytes=1e-9), now=hour(1000))
    assert indexes(tmp_path / "ly") == left[-1:]


def test_a_run_takes_away_once_a_day_what_is_too_old(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        evolving(sqlite, sandbox, tmp_path, 4, keep_days=2)
        assert len(indexes(tmp_path / "ly")) == 3
        sync(sqlite, archiving(sandbox, tmp_path, keep_days=0.001), "ly", hour(73))
        assert len(indexes(tmp_path / "ly")) == 4


def test_files_are_for_their_owner_only(sqlite: Engine, tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        sync(sqlite, archiving(sandbox, tmp_path), "ly", hour(0))
    files = [*indexes(tmp_path / "ly"), *pages(tmp_path)]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "ly").stat().st_mode & 0o777 == 0o700
