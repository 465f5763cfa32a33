"""`--quiet`: nothing when all is well, everything when it is not."""

import resource
import subprocess
import sys
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


def test_nothing_is_printed_when_all_is_well(done: Place) -> None:
    for words in QUIET:
        ended = done.etl(*words, "--quiet")
        assert (ended.code, ended.out, ended.err) == (0, "", ""), words
        ended = done.etl("--quiet", *words)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), words


def test_a_first_sync_is_quiet_in_a_process_of_its_own(here: Place) -> None:
    ended = here.process("sync", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_failure_is_printed_as_without_it(done: Place) -> None:
    with_it = done.etl("sync", "--quiet", "ly", ly="another")
    without = done.etl("sync", "ly", ly="another")
    assert (with_it.code, without.code) == (4, 4)
    assert [line.split()[:2] for line in with_it.out.splitlines()] == [
        line.split()[:2] for line in without.out.splitlines()
    ]


def test_stale_streams_are_named(done: Place) -> None:
    ended = done.etl("status", "--max-age", "0s", "--quiet")
    assert ended.code == 6
    assert all(name in ended.out for name in ("ld", "st", "ly"))
    assert "stale" in ended.err


@pytest.mark.parametrize(
    "words", [("sync", "--quiet", "nobody"), ("--quiet", "sync", "nobody"), ("--quiet", "report")]
)
def test_an_error_is_printed(done: Place, words: tuple[str, ...]) -> None:
    ended = done.etl(*words)
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


PRINTS_MUCH = """
import sys, typer
from etl.cli.quiet import quiet
try:
    with quiet():
        for number in range(3000):
            print(number, "long" * 1000)
            print(number, "\\udcff", file=sys.stderr)
        raise typer.Exit(7)
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


def printing_much(most_file: int) -> subprocess.CompletedProcess[str]:
    """3000 long lines on stdout and short ones on stderr; most_file: bytes of a file it writes."""
    return subprocess.run(
        [sys.executable, "-c", PRINTS_MUCH],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_file, most_file)),
    )


def test_a_failure_after_much_output_is_printed_whole() -> None:
    ended = printing_much(-1)
    assert [line.split()[0] for line in ended.stdout.splitlines()] == [str(n) for n in range(3000)]
    assert ended.stdout.count("long") == 3000 * 1000
    assert ended.returncode == 7
    assert ended.stderr.splitlines() == [f"{n} \\udcff" for n in range(3000)]


def test_where_much_output_has_no_room_the_exit_code_stays_and_the_reason_is_told() -> None:
    ended = printing_much(2 * 2**20)
    assert ended.stdout == ""
    assert ended.stderr.startswith("etl: not everything could be printed: the temporary folder /")
    assert "File too large; raise the limit of file sizes (`ulimit -f`)" in ended.stderr
    assert ended.returncode == 7
