"""The memory of a run is bounded, whatever is sent: each hostile body is read by a real process."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.conftest import Databases
from tests.support import hostile
from tests.support.database import count, rows
from tests.support.hostile import Body, Ended, Pages, Vendor, answering, configured, limited
from tests.support.internals.values import MAX_BYTES, MAX_ITEM, MAX_LINE, MAX_REJECTS
from tests.support.planning import change, lines_of, plan_of
from tests.support.waiting import until

MB = 10**6
MOST = 250 * MB
ENDS = ("ok", "partial", "failed", "held")


def url_of(engine: Engine) -> str:
    """The URL of a database, for a configuration."""
    return engine.url.render_as_string(hide_password=False)


def read(vendor: Vendor, body: bytes, engine: Engine, folder: Path, **sent: bool) -> Ended:
    """One sync of the vendor that sends this body."""
    with answering(vendor, body, **sent) as server:
        config = configured(folder, url_of(engine), vendor.name, server.url)
        return limited(config, "sync", "it", "--json")


def proved(ended: Ended) -> None:
    """The run came to an end of its own within the memory that is promised."""
    assert ended.status in ENDS, (ended.out, ended.err)
    assert ended.peak < MOST, ended.out


LISTED = [
    pytest.param(vendor, body, id=f"{name}-{vendor.name}")
    for vendor in hostile.VENDORS
    for name, body in hostile.BODIES.items()
]
OWN = [
    pytest.param(vendor, body, id=f"{name}-{vendor.name}{vendor.listed}")
    for vendor, bodies in (
        (hostile.VENDORS[0], hostile.OF_LAUNCHDARKLY),
        (hostile.LAYERS, hostile.OF_LAUNCHDARKLY_LAYERS),
        (hostile.VENDORS[1], hostile.OF_STATSIG),
    )
    for name, body in bodies.items()
]
ALONE = [
    pytest.param(vendor, hostile.BODIES[name], id=f"{name}-{vendor.name}{vendor.listed}")
    for vendor in (hostile.WHOAMI, hostile.HELPS)
    for name in ("one text of wide letters", "short texts", "large numbers", "many names")
]
WORST = (
    [
        pytest.param(hostile.VENDORS[2], hostile.BODIES[name], id=name)
        for name in (
            "the same, with a tiny number",
            "projects of Layers.com",
            "items of wide letters",
        )
    ]
    + [
        pytest.param(hostile.LAYERS, hostile.OF_LAUNCHDARKLY_LAYERS[name], id=name)
        for name in ("many reservations", "reservations of wide letters", "names of wide letters")
    ]
    + [
        pytest.param(hostile.VENDORS[1], hostile.OF_STATSIG[name], id=name)
        for name in ("a parameter of wide letters", "tags of wide letters", "many parameters")
    ]
)


@pytest.mark.row(32)
@pytest.mark.parametrize(
    ("kind", "vendor", "body"),
    [
        ("sqlite", hostile.VENDORS[0], hostile.BODIES["tags that are none"]),
        ("sqlite", hostile.LAYERS, hostile.BODIES["the same, read by Python"]),
        ("postgres", hostile.VENDORS[1], hostile.OF_STATSIG["a parameter of wide letters"]),
    ],
    ids=["an item with very many faults", "several at once", "wide letters"],
)
def test_a_hostile_body_takes_a_bounded_memory(
    kind: str, vendor: Vendor, body: Body, databases: Databases, tmp_path: Path
) -> None:
    with databases(kind) as engine:
        proved(read(vendor, body(), engine, tmp_path))


@pytest.mark.slow
@pytest.mark.row(32)
@pytest.mark.parametrize(("vendor", "body"), LISTED + OWN + ALONE)
def test_every_hostile_body_takes_a_bounded_memory(
    vendor: Vendor, body: Body, databases: Databases, tmp_path: Path
) -> None:
    with databases("sqlite") as engine:
        proved(read(vendor, body(), engine, tmp_path))


@pytest.mark.slow
@pytest.mark.row(32)
@pytest.mark.parametrize(("vendor", "body"), WORST)
def test_the_worst_of_them_do_on_postgres(
    vendor: Vendor, body: Body, databases: Databases, tmp_path: Path
) -> None:
    with databases("postgres") as engine:
        proved(read(vendor, body(), engine, tmp_path))


@pytest.mark.slow
@pytest.mark.row(32)
@pytest.mark.parametrize("name", hostile.OF_LAUNCHDARKLY_LAYERS)
def test_so_do_several_at_once_that_do_not_say_how_long_they_are(
    name: str, databases: Databases, tmp_path: Path
) -> None:
    """Whether such an answer is whole is seen where it is fetched, in several threads."""
    body = hostile.OF_LAUNCHDARKLY_LAYERS[name]()
    with databases("sqlite") as engine:
        proved(read(hostile.LAYERS, body, engine, tmp_path, closing=True))


@pytest.mark.slow
@pytest.mark.row(32)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("name", hostile.CHANGES)
def test_however_much_changed_a_run_takes_a_bounded_memory(
    name: str, kind: str, databases: Databases, tmp_path: Path
) -> None:
    pages = Pages(*hostile.CHANGES[name])
    with databases(kind) as engine, pages.serving() as server:
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        first = limited(config, "sync", "it", "--json")
        proved(first)
        pages.state = 1
        second = limited(config, "sync", "it", "--json")
        proved(second)
        records = count(engine, "projects")
        assert count(engine, "changes") == 2 * records
        assert count(engine, "change_fields") >= records


ASKED = (
    *(["export", table, "--out"] for table in ("projects", "project_history", "change_fields")),
    *(["changes"], ["history", "projects", "1"], ["reprocess", "it"]),
)


@pytest.mark.slow
@pytest.mark.row(32)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_large_records_are_read_few_at_a_time_by_every_command(
    kind: str, databases: Databases, tmp_path: Path
) -> None:
    pages = Pages(hostile.large_changed, 12)
    with databases(kind) as engine, pages.serving() as server:
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        for pages.state in range(3):
            assert limited(config, "sync", "it").code == 0
        for number, words in enumerate(ASKED):
            out = [str(tmp_path / f"{number}.jsonl")] if words[-1] == "--out" else []
            ended = limited(config, *words, *out)
            assert (ended.code, ended.err) == (0, ""), words
            assert ended.peak < MOST, words


PLANS = [
    pytest.param(kind, name, file, id=f"{name}-{kind}-{file}")
    for name in ("many records", "large records")
    for kind, file in (("sqlite", "plan.json"), ("postgres", "plan.json.gz"))
]


@pytest.mark.slow
@pytest.mark.row(32)
@pytest.mark.parametrize(("kind", "name", "file"), PLANS)
def test_however_much_changed_its_plan_takes_a_bounded_memory(
    kind: str, name: str, file: str, databases: Databases, tmp_path: Path
) -> None:
    pages = Pages(*hostile.CHANGES[name])
    with databases(kind) as engine, pages.serving() as server:
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        assert limited(config, "sync", "it").code == 0
        records = count(engine, "projects")
        pages.state = 1
        place = str(tmp_path / file)
        planned = [
            limited(config, "plan", "it", "--out", place, seconds=600),
            limited(config, "plan", "it", "--json"),
        ]
        applied = limited(config, "apply", place)
        for ended in (*planned, applied):
            assert (ended.code, ended.err) == (0, "")
            assert ended.peak < MOST, ended.peak
        assert f"plan: {records:,} to update" in planned[0].out
        assert len(json.loads(planned[1].out)["plan"]["sources"][0]["changes"]) == records
        assert count(engine, "changes", "operation = 'updated'") == records
        assert count(engine, "staged_projects") == 0
        assert limited(config, "sync", "it").out.startswith("it: ok, nothing changed")


@pytest.mark.slow
@pytest.mark.row(32)
def test_what_waits_to_be_printed_takes_a_bounded_memory(
    databases: Databases, tmp_path: Path
) -> None:
    """With --quiet, until it is known that the exit code is 7."""
    pages = Pages(hostile.large_changed, 10)
    with databases("sqlite") as engine, pages.serving() as server:
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        assert limited(config, "sync", "it").code == 0
        pages.state = 1
        ended = limited(config, "plan", "it", "--quiet", "--detailed-exitcode")
    assert ended.code == 7
    assert ended.out.count("a" * (MAX_ITEM - 999)) == 2 * 30
    assert ended.peak < MOST, ended.peak


@pytest.mark.slow
@pytest.mark.row(32)
def test_a_plan_that_unpacks_to_very_much_is_refused_in_a_bounded_memory(tmp_path: Path) -> None:
    """Each line is as long as it may be and right; there are too many of them."""
    one = change(raw="a" * (MAX_LINE - 1000))
    first, source, line, *_ = lines_of(plan_of(one))
    place = tmp_path / "plan.json.gz"
    with gzip.open(place, "wb", compresslevel=1) as file:
        file.writelines([first, source, *[line.rstrip() + b",\n"] * (MAX_BYTES // MAX_LINE + 1)])
    config = configured(tmp_path, f"sqlite:///{tmp_path / 'etl.db'}", "layers", "http://127.0.0.1")
    ended = limited(config, "apply", str(place))
    assert (ended.code, ended.out) == (2, "")
    assert "is larger than a plan may be (536,870,912 bytes)" in " ".join(ended.err.split())
    assert ended.peak < MOST, ended.peak


@pytest.mark.row(46)
def test_a_temporary_folder_without_room_stops_a_plan_and_loses_nothing(
    databases: Databases, tmp_path: Path
) -> None:
    """Where the changes wait, of those that are found and of those that are read."""
    pages, place = Pages(hostile.much_changed, 1), str(tmp_path / "plan.json.gz")
    with databases("postgres") as engine, pages.serving() as server:
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        few = limited(config, "plan", "it", "--quiet", "--out", place, most_file=2 * 2**20)
        assert (few.code, Path(place).exists()) == (1, False)
        assert limited(config, "plan", "it", "--quiet", "--out", place).code == 0
        ended = limited(config, "apply", place, most_file=2 * 2**20)
        assert ended.code == 1
        for said in (few.out, ended.err):
            assert "cannot be written: File too large; raise the limit" in " ".join(said.split())
        assert (count(engine, "projects"), count(engine, "staged_projects")) == (0, 0)
        assert limited(config, "apply", place).code == 0
        assert count(engine, "projects") == 4000


@pytest.mark.row(46)
def test_a_temporary_folder_without_room_stops_the_run_and_loses_nothing(
    databases: Databases, tmp_path: Path
) -> None:
    """Where the field changes of a run wait; the server of PostgreSQL has no such limit."""
    pages = Pages(hostile.much_changed, 1)
    with databases("postgres") as engine, pages.serving() as server:
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        assert limited(config, "sync", "it").code == 0
        pages.state = 1
        ended = limited(config, "sync", "it", most_file=2 * 2**20)
        why = "cannot be written: File too large; raise the limit of file sizes (`ulimit -f`)"
        said = " ".join(ended.out.split())
        assert (ended.code, ended.err) == (1, "")
        assert "the temporary folder /" in said
        assert why in said
        assert (count(engine, "change_fields"), count(engine, "staged_projects")) == (0, 4000)
        assert rows(engine, "runs")[-1]["error"].endswith(why)
        assert limited(config, "sync", "it").code == 0
        assert count(engine, "change_fields") == 41 * 4000


@pytest.mark.parametrize("name", ["projects of Layers.com", "objects of one key"])
def test_a_stop_is_heard_while_a_hostile_page_is_processed(
    name: str, databases: Databases, tmp_path: Path
) -> None:
    """Of valid items some are staged already, and the page is not at its end."""
    with (
        databases("sqlite") as engine,
        answering(hostile.VENDORS[2], hostile.BODIES[name]()) as server,
    ):
        config = configured(tmp_path, url_of(engine), "layers", server.url)
        command = [sys.executable, "-m", "etl", "--config", str(config), "sync", "it"]
        environ = {**os.environ, "KEY": "some-key"}
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
            assert until(lambda: len(server.heads) > 1)  # the first one asked whose the key is
            if name.startswith("projects"):
                assert until(lambda: count(engine, "staged_projects") > 0)
                assert count(engine, "ledger") == 0
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=120)
        assert process.returncode == 75, told
        assert told.startswith("etl: stopped; what was read is kept")
        assert count(engine, "projects") == 0


def test_of_many_rejects_the_first_are_kept_and_all_are_counted(
    databases: Databases, tmp_path: Path
) -> None:
    body = hostile.items(*["[]"] * (MAX_REJECTS + 500))
    with databases("sqlite") as engine:
        ended = read(hostile.VENDORS[2], body, engine, tmp_path)
        assert ended.status == "partial"
        assert f"{MAX_REJECTS + 500} items were rejected" in ended.out
        assert count(engine, "rejects") <= MAX_REJECTS
        (stream,) = rows(engine, "run_streams")
    assert stream["rejected"] == MAX_REJECTS + 500
