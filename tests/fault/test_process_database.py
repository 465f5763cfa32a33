"""Rows 46 and 47: the database is locked, read-only, full, or goes away in mid-run.

The run waits or fails with one clear line; the database is sound, holds nothing half, and the next
run brings it in step.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.sandbox import Fault, Sandbox, World
from tests.cli.command import Ended, process
from tests.conftest import Databases
from tests.support.database import contents, counts, differing
from tests.support.forks import Fork
from tests.support.history import violations
from tests.support.internals.database import open_engine
from tests.support.own_postgres import OwnPostgres, own_postgres
from tests.support.runs import asked, config_text, settings_for, small, sync

PAGED: dict[str, Any] = {"st": {"layers": {"page_size": 5}}}
STATSIG = "statsig /console/v1/layers?*"
NOBODY = 65534


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Another process writes into the file; call to let it end."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        def release() -> None:
            if process.poll() is None and process.stdin and not process.stdin.closed:
                process.stdin.close()
                process.wait(60)

        yield release
        release()


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE theirs (id INTEGER)")
print("held", flush=True)
sys.stdin.read()
connection.rollback()
"""


def intact(path: Path) -> bool:
    """What SQLite itself says."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def sqlite(databases: Databases) -> Iterator[Engine]:
    """A database file."""
    with databases("sqlite") as engine:
        yield engine


def path_of(engine: Engine) -> Path:
    assert engine.url.database is not None
    return Path(engine.url.database)


def config_for(engine: Engine, sandbox: Sandbox, folder: Path) -> Path:
    config = folder / "etl.toml"
    url = engine.url.render_as_string(hide_password=False)
    config.write_text(config_text(sandbox, url, **PAGED))
    return config


@pytest.mark.row(46)
def test_a_run_waits_for_a_foreign_writer(sqlite: Engine, tmp_path: Path, fork: Fork) -> None:
    with Sandbox(small()) as sandbox:
        config = config_for(sqlite, sandbox, tmp_path)
        assert fork(config, "ly").code == 0
        with locked(path_of(sqlite)) as release:
            timer = threading.Timer(1.0, release)
            timer.start()
            ended = fork(config, "st")
            timer.join()
        assert ended.code == 0
        assert counts(sqlite)["statsig"] == sandbox.counts()["statsig"]
    assert intact(path_of(sqlite))


@pytest.mark.row(46)
@pytest.mark.parametrize(
    "after",
    [
        pytest.param(None, id="from the start", marks=pytest.mark.slow),
        pytest.param(2, id="in mid-run"),
    ],
)
def test_a_foreign_writer_that_does_not_end_is_a_clear_error(
    sqlite: Engine, tmp_path: Path, after: int | None, fork: Fork
) -> None:
    held: list[Any] = []

    def lock(_world: World) -> None:
        held.append(locked(path_of(sqlite)))
        held.append(held[0].__enter__())

    with Sandbox(small()) as sandbox:
        config = config_for(sqlite, sandbox, tmp_path)
        if after is None:
            lock(sandbox.world)
        else:
            sandbox.add_fault(Fault(STATSIG, "mutate", after=after, arg=lock))
        ended = fork(config, "st", busy=1, checkpoint=0.0)
        held[0].__exit__(None, None, None)
        assert (ended.code, ended.error.count("\n")) == (1, 0)
        assert ended.error == (
            "the database failed while syncing st: database is locked; another process is writing: "
            "run the command again when it has ended"
        )
        assert intact(path_of(sqlite))
        assert (fork(config, "st").code, violations(sqlite)) == (0, [])
        assert counts(sqlite)["statsig"] == sandbox.counts()["statsig"]


@pytest.mark.row(46)
def test_a_foreign_reader_neither_waits_nor_makes_a_run_wait(
    sqlite: Engine, tmp_path: Path, fork: Fork
) -> None:
    query = "SELECT count(*) FROM layers"
    with Sandbox(small()) as sandbox:
        config = config_for(sqlite, sandbox, tmp_path)
        with closing(sqlite3.connect(path_of(sqlite), isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute(query).fetchone() == (0,)
            assert fork(config, "st", busy=1).code == 0
            assert reader.execute(query).fetchone() == (0,)  # its own moment
        assert counts(sqlite)["statsig"] == sandbox.counts()["statsig"]
    assert intact(path_of(sqlite))


@pytest.mark.row(46)
def test_a_database_that_may_only_be_read_is_a_clear_error(fork: Fork) -> None:
    """A file and a folder without the right to write; root, whom that does not bind, steps down."""
    with (
        tempfile.TemporaryDirectory() as name,  # pytest's own folders are closed to others
        Sandbox(small()) as sandbox,
    ):
        folder = Path(name)
        engine = open_engine(f"sqlite:///{folder / 'etl.db'}")
        database_of(engine)
        config = config_for(engine, sandbox, folder)
        assert fork(config, "st").code == 0
        before = contents(engine)
        engine.dispose()
        (folder / "etl.db").chmod(0o444)
        folder.chmod(0o555)
        sandbox.world.evolve(changed=0.3)
        sandbox.reset_requests()
        ended = fork(config, "st", uid=NOBODY if os.geteuid() == 0 else None)
        folder.chmod(0o755)
        (folder / "etl.db").chmod(0o644)
        assert (ended.code, asked(sandbox)) == (1, [])
        assert "attempt to write a readonly database" in ended.error
        assert (ended.error.count("\n"), intact(folder / "etl.db")) == (0, True)
        assert contents(engine) == before
        assert fork(config, "st").code == 0
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
        engine.dispose()


def database_of(engine: Engine) -> None:
    """The schema of this code."""
    from tests.support.internals.database import schema

    schema.upgrade(engine)


@pytest.mark.row(46)
def test_a_full_disk_at_any_point_of_a_run_leaves_the_old_state(
    sqlite: Engine, tmp_path: Path, fork: Fork
) -> None:
    """More room step by step, until the run lands; it fails in staging first, then in the merge."""
    failed = 0
    with Sandbox(small()) as sandbox:
        config = config_for(sqlite, sandbox, tmp_path)
        assert fork(config, "st").code == 0
        sandbox.world.evolve(changed=0.8, created=60)
        before = contents(sqlite)
        with closing(sqlite3.connect(path_of(sqlite))) as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        for room in range(0, 800, 8):
            ended = fork(config, "st", pages=pages + room, checkpoint=0.0)
            if ended.code == 0:
                break
            failed += 1
            assert (ended.code, ended.error) == (1, FULL), f"with room for {room} pages"
            assert (intact(path_of(sqlite)), contents(sqlite)) == (True, before)
        assert failed > 2
        assert counts(sqlite)["statsig"] == sandbox.counts()["statsig"]
    assert violations(sqlite) == []


FULL = (
    "the database failed while syncing st: database or disk is full; free some space, then run "
    "the command again"
)


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    """A PostgreSQL that may be stopped."""
    with own_postgres() as started:
        yield started


@pytest.fixture
def mortal(server: OwnPostgres, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database on it, with a first sync behind it in the tests below."""
    name = f"d{abs(hash(request.node.name))}"
    engine = open_engine(server.database(name))
    yield engine
    engine.dispose()


def failed_cleanly(ended: Ended) -> bool:
    """Whether it ended well, or told in a line that the database failed."""
    assert "Traceback" not in ended.err, ended.err
    assert ended.code in (0, 1), ended
    return ended.code == 0 or "the database failed while syncing st: " in ended.out + ended.err


@pytest.mark.row(47)
@pytest.mark.parametrize(
    ("match", "mode"),
    [
        (STATSIG, "immediate"),
        pytest.param(STATSIG, "fast", marks=pytest.mark.slow),
        pytest.param("statsig /console/v1/layers/*", "fast", marks=pytest.mark.slow),
        pytest.param("statsig /console/v1/layers/*", "immediate", marks=pytest.mark.slow),
    ],
)
def test_postgres_restarted_in_mid_run(
    server: OwnPostgres, mortal: Engine, databases: Databases, tmp_path: Path, mode: str, match: str
) -> None:
    """In a walk, and while deletions are proved; after a crash the staged rows are gone."""
    with databases("postgres") as undisturbed, Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        for engine in (mortal, undisturbed):
            sync(engine, settings, "st")
        sandbox.world.evolve(changed=0.3, deleted=2, created=2)
        before = contents(mortal)
        after = 3 if match == STATSIG else 0
        restart = Fault(match, "mutate", after=after, arg=lambda _world: server.restart(mode))
        sandbox.add_fault(restart)
        config = config_for(mortal, sandbox, tmp_path)
        ended = process("--config", str(config), "sync", "st", at=tmp_path)
        assert failed_cleanly(ended)
        mortal.dispose()
        assert ended.code == 0 or contents(mortal) == before
        assert process("--config", str(config), "sync", "st", at=tmp_path).code == 0
        sync(undisturbed, settings, "st")
        assert differing(mortal, undisturbed) == set()
    assert violations(mortal) == []


@pytest.mark.slow
@pytest.mark.row(47)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_that_goes_away_in_the_merge_takes_it_back(
    server: OwnPostgres, mortal: Engine, tmp_path: Path, mode: str
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sync(mortal, settings, "st")
        sandbox.world.evolve(changed=0.3)
        before = contents(mortal)
        with mortal.begin() as connection:
            connection.execute(text(NAP))
            connection.execute(text(NAPS))
        stopping = threading.Thread(target=_restart_in_the_merge, args=(server, mortal, mode))
        stopping.start()
        config = config_for(mortal, sandbox, tmp_path)
        ended = process("--config", str(config), "sync", "st", at=tmp_path)
        stopping.join()
        assert (failed_cleanly(ended), ended.code) == (True, 1)
        assert contents(mortal) == before
        with mortal.begin() as connection:
            connection.execute(text("DROP TRIGGER slow ON change_fields"))
        assert process("--config", str(config), "sync", "st", at=tmp_path).code == 0
        assert counts(mortal)["statsig"] == sandbox.counts()["statsig"]
    assert violations(mortal) == []


def _restart_in_the_merge(server: OwnPostgres, engine: Engine, mode: str) -> None:
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
        for _ in range(1000):
            if watching.execute(text(sleeping)).scalar():
                break
            threading.Event().wait(0.01)
    engine.dispose()
    server.restart(mode)


NAP = """
CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$
"""
NAPS = "CREATE TRIGGER slow BEFORE INSERT ON change_fields FOR EACH ROW EXECUTE FUNCTION nap()"


@pytest.mark.slow
@pytest.mark.row(47)
def test_postgres_that_stays_away_is_told_in_one_line(
    server: OwnPostgres, mortal: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        stop = Fault(STATSIG, "mutate", after=2, arg=lambda _world: server.stop("immediate"))
        sandbox.add_fault(stop)
        config = config_for(mortal, sandbox, tmp_path)
        mortal.dispose()
        try:
            ended = process("--config", str(config), "sync", "st", at=tmp_path)
            later = process("--config", str(config), "sync", "st", at=tmp_path)
        finally:
            server.start()
        assert (failed_cleanly(ended), ended.code) == (True, 1)
        assert (later.code, later.err.count("\n")) == (1, 1)
        assert "cannot open the database" in later.err
        assert process("--config", str(config), "sync", "st", at=tmp_path).code == 0
        assert counts(mortal)["statsig"] == sandbox.counts()["statsig"]
    assert violations(mortal) == []


@pytest.mark.row(47)
def test_a_process_that_lives_on_is_not_kept_out_by_its_own_lease(
    server: OwnPostgres, mortal: Engine
) -> None:
    """As a daemon: the lease of a run whose database went away must not bind its next run."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        stop = Fault(STATSIG, "mutate", after=2, arg=lambda _world: server.stop("fast"))
        sandbox.add_fault(stop)
        try:
            sync(mortal, settings, "st")
        finally:
            server.start()
        report = sync(mortal, settings, "st")
        assert (report.status, report.error) == ("ok", None)
        assert counts(mortal)["statsig"] == sandbox.counts()["statsig"]


@pytest.mark.slow
@pytest.mark.row(47)
def test_dropped_connections_leave_nothing_half(
    databases: Databases, tmp_path: Path, fork: Fork
) -> None:
    """All of them, before each page; the run that meets no such fault any more lands."""
    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
    with (
        databases("postgres") as engine,
        databases("postgres") as other,
        Sandbox(small()) as sandbox,
        other.connect().execution_options(isolation_level="AUTOCOMMIT") as killing,
    ):

        def cut(_world: World) -> None:
            killing.execute(text(drop), {"name": engine.url.database})

        config = config_for(engine, sandbox, tmp_path)
        for page in range(5):
            sandbox.clear_faults()
            sandbox.add_fault(Fault("statsig", "mutate", after=page, arg=cut))
            ended = fork(config, "st", checkpoint=0.0)
            assert ended.code in (0, 1), ended
            engine.dispose()
            assert ended.code == 0 or sum(map(len, contents(engine).values())) == 0
        sandbox.clear_faults()
        assert fork(config, "st").code == 0
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
        assert violations(engine) == []
