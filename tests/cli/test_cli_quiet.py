"""`--quiet`: nothing when all is well, everything when it is not."""

from pathlib import Path

import pytest

from etl.sandbox import Fault, Sandbox
from tests.cli.command import Place, place
from tests.support.runs import small

QUIET = [
    ("sync",),
    ("sync", "--json"),
    ("backfill", "ly"),
    ("check",),
    ("status",),
    ("status", "--max-age", "2h"),
    ("audit",),
    ("drift",),
    ("prune",),
    ("reprocess",),
    ("db", "check"),
    ("db", "upgrade"),
    ("db", "vacuum"),
]


@pytest.fixture
def synced_place(here: Place) -> Place:
    assert here.etl("sync").code == 0
    return here


def test_nothing_is_printed_when_all_is_well(synced_place: Place) -> None:
    for words in QUIET:
        ended = synced_place.etl(*words, "--quiet")
        assert (ended.code, ended.out, ended.err) == (0, "", ""), words
        ended = synced_place.etl("--quiet", *words)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), words


def test_a_first_sync_is_quiet_in_a_process_of_its_own(here: Place) -> None:
    ended = here.process("sync", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_failure_is_printed_as_without_it(synced_place: Place) -> None:
    with_it = synced_place.etl("sync", "--quiet", "ly", ly="another")
    without = synced_place.etl("sync", "ly", ly="another")
    assert (with_it.code, without.code) == (4, 4)
    assert [line.split()[:2] for line in with_it.out.splitlines()] == [
        line.split()[:2] for line in without.out.splitlines()
    ]


def test_stale_streams_are_named(synced_place: Place) -> None:
    ended = synced_place.etl("status", "--max-age", "0s", "--quiet")
    assert ended.code == 6
    assert all(name in ended.out for name in ("ld", "st", "ly"))
    assert "stale" in ended.err


@pytest.mark.parametrize(
    "words", [("sync", "--quiet", "nobody"), ("--quiet", "sync", "nobody"), ("--quiet", "report")]
)
def test_an_error_is_printed(synced_place: Place, words: tuple[str, ...]) -> None:
    ended = synced_place.etl(*words)
    assert (ended.code, ended.err.startswith("etl: ")) == (2, True)


def test_what_passes_by_itself_is_quiet(tmp_path: Path) -> None:
    faults = [Fault("layers *", "status", times=None, arg=503)]
    with Sandbox(small(), faults=faults) as sandbox:
        here = place(tmp_path, sandbox, ly={"limits": {"attempts": 1}})
        ended = here.etl("sync", "--quiet", "ly")
        assert (ended.code, ended.out, ended.err) == (75, "", "")
        logged = here.etl("--log", "json", "sync", "--quiet", "ly")
        assert (logged.code, logged.out) == (75, "")
        assert '"status": "parked"' in logged.err
