"""Nothing a vendor wrote is obeyed by a terminal or a spreadsheet, and no key is ever shown."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from etl.cli import terminal
from etl.sandbox import KEYS, Fault
from etl.sandbox.words import ESCAPES
from tests.cli.command import BIDI, ESCAPE, Place, synced
from tests.support.places import MARKUP, OVERRIDE
from tests.support.runs import small

SHOWN = (
    "status",
    "runs",
    "show 1",
    "show 4",
    "changes",
    "changes --source st",
    "history projects search",
    "history layers Checkout",
    "check",
)
SDK_KEY = re.compile(r"\b(?:sdk|mob)-[0-9a-f]{8}-")


@pytest.mark.parametrize("command", SHOWN)
def test_no_table_holds_escape_codes_or_direction_marks(story: Place, command: str) -> None:
    shown = story.etl(*command.split()).out
    assert ESCAPE not in shown
    assert BIDI.search(shown) is None


@pytest.mark.parametrize("key", [ESCAPES, OVERRIDE])
def test_no_error_holds_escape_codes_or_direction_marks(story: Place, key: str) -> None:
    ended = story.etl("history", "environments", key + "x")
    assert ended.code == 2
    assert ESCAPE not in ended.err
    assert BIDI.search(ended.err) is None


def test_the_sandbox_has_hostile_names_at_all(story: Place) -> None:
    values = story.etl("changes", "--format", "json").out
    assert json.dumps(ESCAPES)[1:-1] in values
    assert json.dumps(OVERRIDE)[1:-1] in values


def test_markup_is_shown_as_it_was_written(story: Place) -> None:
    shown = story.etl("history", "layers", "Checkout").out
    assert MARKUP in shown


def test_markup_in_a_cell_is_shown_as_it_was_written() -> None:
    assert terminal.cell(MARKUP).plain == MARKUP


def test_no_cell_of_the_csv_is_a_formula(story: Place) -> None:
    shown = story.etl("changes", "--format", "csv").out
    cells = [cell for row in csv.reader(io.StringIO(shown, newline="")) for cell in row]
    assert [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")] == []
    assert any(cell == "'@SUM(A1)" for cell in cells)


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_command_shows_an_sdk_key(story: Place, form: str) -> None:
    assert SDK_KEY.search(story.etl("changes", "--format", form).out) is None


def test_a_rotated_key_is_told_by_its_fingerprints(done: Place) -> None:
    old = done.sandbox.world.records("launchdarkly", "environments")[0]
    done.sandbox.world.update(
        "launchdarkly",
        "environments",
        old["key"],
        old["_project_key"],
        apiKey="sdk-00000000-1111-2222-3333-444444444444",
    )
    assert done.etl("sync", "ld").code == 0
    shown = done.etl("changes", "--run", "4").out
    assert re.search(r'apiKey: "fp:[0-9a-f]{16}" -> "fp:[0-9a-f]{16}"', shown)


def test_no_secret_is_in_any_output_or_in_the_database(tmp_path: Path) -> None:
    world = small()
    secrets = [*KEYS.values()]
    for row in world.records("launchdarkly", "environments"):
        secrets += [row["apiKey"], row["mobileKey"]]
    debug = ("--log", "json", "--log-level", "debug")
    with synced(tmp_path, world) as found:
        told = [found.etl(*debug, *command.split()) for command in (*SHOWN, "sync", "db check")]
        told += [found.process(*debug, "sync", "--json", "--full")]
        found.sandbox.add_fault(Fault("statsig", "status", times=None, arg=401))
        told += [found.etl(*debug, "check", "st"), found.etl(*debug, "sync", "st", "--json")]
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("etl.db*"))
    shown = "".join(ended.out + ended.err for ended in told)
    assert [secret for secret in secrets if secret in shown] == []
    assert [secret for secret in secrets if secret.encode() in stored] == []
    assert SDK_KEY.search(shown) is None
    assert re.search(rb"\b(?:sdk|mob)-[0-9a-f]{8}-", stored) is None
