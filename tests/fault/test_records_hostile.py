"""Rows 42 and 43: no secret is kept anywhere, and no text of a vendor is obeyed by anything."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text

from etl.sandbox import KEYS, Fault, Sandbox, Sizes, World
from etl.sandbox.words import ESCAPES, FORMULA, SCRIPT
from tests.cli.command import BIDI, ESCAPE, Place, synced
from tests.support.database import rows
from tests.support.internals.database import secrets as audit_secrets
from tests.support.internals.values import as_json
from tests.support.runs import settings_for, sync

TINY = Sizes(ld_projects=1, ld_environments=2, ld_layers=2, statsig_layers=2, layers_projects=2)
PROJECTS = "launchdarkly /api/v2/projects[?]*"
SDK = "sdk-01234567-89ab-cdef-0123-456789abcdef"
MOBILE = "mob-01234567-89ab-cdef-0123-456789abcdef"
API = "api-01234567-89ab-cdef-0123-456789abcdef"
CONSOLE = "console-0a1b2c3d4e5f6a7b8c9d0e1f"
PARTNER = "lp_live_0a1b2c3d4e5f6a7b8c9d"
ODD = "no-shape-of-a-key-but-in-a-field-for-keys"  # only the name of the field tells
SHAPED = (SDK, MOBILE, API, CONSOLE, PARTNER)


def everything(engine: Engine) -> str:
    """The text of all rows of all tables."""
    with engine.connect() as connection:
        return "\n".join(
            repr(tuple(row))
            for table in inspect(connection).get_table_names()
            for row in connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608
        )


PLANTED: dict[str, tuple[tuple[Any, ...], Any]] = {
    "its own fields": (("environments", "items", 0, "apiKey"), ODD),
    "fields of that name, nested": (
        ("environments", "items", 0, "approvalSettings"),
        {"deep": [{"apiKey": ODD, "mobileKey": [ODD, {"x": ODD}]}]},
    ),
    "a name": (("name",), " ".join(SHAPED)),
    "a tag": (("tags",), list(SHAPED)),
    "an unknown field": (("newThing",), {"a": [{"b": f"<{key}>"} for key in SHAPED]}),
    "names of members": (("newThing",), dict.fromkeys(SHAPED, 1)),
    "a name of a field": ((f"new {SDK}",), 1),
    "a key": (("key",), SDK),
    "a rejected item": (("tags",), {"a": list(SHAPED), "apiKey": ODD}),
    "a rejected time": (("includeInSnippetByDefault",), API),
    "an item without an id": (("_id",), {"apiKey": ODD, "b": CONSOLE}),
}


@pytest.mark.row(42)
@pytest.mark.parametrize(("path", "value"), PLANTED.values(), ids=PLANTED)
def test_a_secret_anywhere_in_a_record_is_kept_nowhere(
    engine: Engine, caplog: pytest.LogCaptureFixture, path: tuple[Any, ...], value: Any
) -> None:
    caplog.set_level("DEBUG")
    with Sandbox(
        World(7, TINY), faults=[Fault(PROJECTS, "patch", times=None, arg=(path, value))]
    ) as own:
        settings = settings_for(own)
        reports = [sync(engine, settings, "ld"), sync(engine, settings, "ld", dry_run=True)]
        sdk_keys = [row["apiKey"] for row in own.world.records("launchdarkly", "environments")]
    assert {report.status for report in reports} <= {"ok", "partial", "dry_run"}
    told = everything(engine) + caplog.text + repr(reports)
    told += json.dumps([as_json(report) for report in reports])
    assert [key for key in (*SHAPED, ODD, *KEYS.values(), *sdk_keys) if key in told] == []
    assert "fp:" in told
    with engine.connect() as connection:
        assert list(audit_secrets(connection)) == []


@pytest.mark.row(42)
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_a_secret_in_an_answer_that_is_no_page_is_kept_nowhere(
    engine: Engine, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level("DEBUG")
    with Sandbox(World(7, TINY)) as sandbox:
        settings = settings_for(sandbox)
        for fault in (
            Fault("statsig */layers[?]*", "status", arg=(status, {"X-Key": SDK, "Location": API})),
            Fault("statsig */layers[?]*", "garble", arg=f"{CONSOLE} \x01".encode()),
        ):
            sandbox.add_fault(fault)
            report = sync(engine, settings, "st")
            own = [one.getMessage() for one in caplog.records if one.name.startswith("etl")]
            told = everything(engine) + " ".join(own) + repr(report)
            assert [key for key in (*SHAPED, *KEYS.values()) if key in told] == []


HOSTILE = (
    FORMULA,
    SCRIPT,
    ESCAPES,
    "\u202egnp.exe\u202c",
    "[red]alarm[/red] :x:",
    "[link=https://evil.example]x[/link]",
    "\x1b]8;;https://evil.example\x07x\x1b]8;;\x07",
    "\x9b31mred",
    "a\rb\nc",
    "Robert'); DROP TABLE layers; --",
    "%s %(x)s {0} :name ?",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "|=1",
)
COMMANDS = (
    "status",
    "status --json",
    "runs",
    "runs --json",
    "show 1",
    "show 1 --json",
    "show 2",
    "changes",
    "changes --format json",
    "changes --format csv",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A place where everything has a hostile name, was created and updated; the last run fails."""
    world = World(7, TINY)
    for name in HOSTILE:
        world.create("statsig", "layers", id=name, description=name, tags=[name])
        world.create("layers", "projects", name=name)
    with synced(tmp_path_factory.mktemp("hostile"), world) as place:
        for name in HOSTILE:
            world.update("statsig", "layers", name, description=name * 2, lastModifierName=name)
            world.update("launchdarkly", "projects", "my-project", name=name)
            assert place.etl("sync", "ld").code == 0
        assert place.etl("sync", "st").code == 0
        yield place


@pytest.mark.row(43)
@pytest.mark.parametrize("command", [*COMMANDS, "history projects my-project"])
def test_no_output_obeys_a_hostile_name(hostile: Place, command: str) -> None:
    ended = hostile.etl(*command.split())
    assert ended.code == 0
    if "json" in command:
        documents = [json.loads(line) for line in ended.out.splitlines()]  # one a line
        assert documents
    elif "csv" in command:
        cells = [cell for row in csv.reader(io.StringIO(ended.out, newline="")) for cell in row]
        assert [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)] == []
        assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    if "csv" not in command:
        shown = ended.out + ended.err
        assert ESCAPE not in shown
        assert not set(shown) & {"\x07", "\r"}
    if "json" not in command and "csv" not in command:
        assert BIDI.search(ended.out) is None
        assert "\x9b" not in ended.out


@pytest.mark.row(43)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_the_history_of_a_hostile_name_is_found_and_harmless(
    hostile: Place, name: str, form: str
) -> None:
    ended = hostile.etl("history", "--format", form, "layers", "--", name)
    if ended.code:
        ended = hostile.etl("history", "--format", form, "--", "layers", name)
    assert (ended.code, "created" in ended.out, "updated" in ended.out) == (0, True, True)
    if form == "json":
        assert json.loads(ended.out.splitlines()[0])["key"] == name
    if form == "table":
        assert ESCAPE not in ended.out
        assert BIDI.search(ended.out) is None
        assert "\x9b" not in ended.out


@pytest.mark.row(43)
def test_hostile_names_are_stored_as_they_are(engine: Engine, tmp_path: Path) -> None:
    world = World(7, TINY)
    for name in HOSTILE:
        world.create("statsig", "layers", id=name, description=name)
    with Sandbox(world) as sandbox:
        assert sync(engine, settings_for(sandbox), "st").status == "ok"
    found = {row["key"]: row["description"] for row in rows(engine, "layers")}
    assert {name: found.get(name) for name in HOSTILE} == {name: name for name in HOSTILE}
