"""What cannot be printed changes no exit code: full disks, readers that go, closed descriptors."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import Place, line, variables
from tests.support import commands
from tests.support.commands import Stream

COMMANDS = [
    "audit",
    "status",
    "status --json",
    "runs",
    "show 1",
    "changes",
    "history projects search-new",
    "rejects",
    "drift",
    "report",
    "report project_inventory",
    "diff 7d",
    "notices",
    "db current",
    "db check",
    "check",
    "--help",
    "status --help",
    "export",
    "prune --dry-run",
    "reprocess --dry-run",
]
WAYS = {
    "full": "> /dev/full",
    "both full": "> /dev/full 2> /dev/full",
    "closed": ">&-",
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "gone": "| true",
}


# what a fork of the test's process may have for its stdout and stderr; the rest needs a shell
FORKED: dict[str, tuple[Stream, Stream]] = {
    "full": ("full", "file"),
    "both full": ("full", "full"),
    "closed": ("closed", "file"),
    "both closed": ("closed", "closed"),
}


def run_forked(place: Place, command: str, way: str) -> tuple[int, str]:
    """The same of a fork of this process, which has imported everything."""
    out, err = FORKED[way]
    words = ("--config", str(place.config), *command.split())
    ended = commands.run(*words, at=place.config.parent, stdout=out, stderr=err)
    return ended.code, ended.err


def run(place: Place, command: str, redirection: str) -> tuple[int, str]:
    """Exit code and stderr of a command whose output goes there, by a shell."""
    words = " ".join(line("--config", str(place.config), *command.split()))
    ended = subprocess.run(
        ["/bin/bash", "-c", f"{words} {redirection}; exit ${{PIPESTATUS[0]}}"],
        env=variables(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.fixture(scope="module")
def usual(story: Place) -> dict[str, int]:
    """The exit code of each command where everything can be printed."""
    return {command: story.etl(*command.split()).code for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_exit_code_is_that_of_the_command(
    story: Place, usual: dict[str, int], command: str
) -> None:
    way = list(WAYS)[COMMANDS.index(command) % len(WAYS)]
    code, err = run_forked(story, command, way) if way in FORKED else run(story, command, WAYS[way])
    assert (code, "Traceback" in err, "Exception ignored" in err) == (usual[command], False, False)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_in_every_way_of_every_command(
    story: Place, usual: dict[str, int], command: str, way: str
) -> None:
    code, err = run(story, command, WAYS[way])
    assert (code, "Traceback" in err, "Exception ignored" in err) == (usual[command], False, False)


@pytest.mark.parametrize("way", WAYS)
def test_a_sync_is_done_whatever_becomes_of_its_lines(migrated: Place, way: str) -> None:
    forked = way in FORKED
    code, _ = run_forked(migrated, "sync", way) if forked else run(migrated, "sync", WAYS[way])
    assert code == 0
    raise_unless_synced(migrated)


@pytest.mark.slow
@pytest.mark.parametrize("way", FORKED)
def test_a_sync_of_a_shell_is_done_whatever_becomes_of_its_lines(migrated: Place, way: str) -> None:
    assert run(migrated, "sync", WAYS[way])[0] == 0
    raise_unless_synced(migrated)


def raise_unless_synced(place: Place) -> None:
    assert {row["state"] for row in place.etl("status", "--json").json} == {"ok"}
    assert place.etl("audit").code == 0


def test_what_was_lost_is_told_once_on_stderr(story: Place) -> None:
    code, err = run(story, "status", WAYS["full"])
    assert (code, err.count("\n")) == (0, 1)
    assert "No space left on device" in err


@pytest.mark.parametrize(
    "command", ["export layers --format csv", "report stale_projects --format csv"]
)
def test_rows_that_cannot_be_written_are_a_failure(story: Place, command: str) -> None:
    code, err = run(story, command, WAYS["full"])
    assert (code, err) == (1, "etl: stdout was not written: No space left on device\n")


def test_rows_that_nobody_wants_are_none(story: Place) -> None:
    assert run(story, "export change_feed --format jsonl", WAYS["gone"]) == (0, "")


def test_a_closed_stdout_is_not_the_database(here: Place) -> None:
    assert run(here, "sync", ">&- 2>&-")[0] == 0
    assert here.database.read_bytes().startswith(b"SQLite format 3")


def test_a_version_that_cannot_be_printed_is_no_failure(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    ended = subprocess.run(line("--version"), stdout=full, env=variables(), check=False)
    os.close(full)
    assert ended.returncode == 0
