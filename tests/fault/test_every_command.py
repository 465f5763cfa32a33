"""Whatever is wrong with database, folder, network or output: one line, a documented exit code.

Every command there is, as the command line has them, meets every way to fail.
"""

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url

from etl.sandbox import Sandbox
from tests.cli.command import free_port
from tests.support import postgres, tls
from tests.support.commands import DOCUMENTED, LASTING, Ended, Stream, commands, run
from tests.support.internals.database import engine as engines
from tests.support.runs import config_text, small

WITHOUT_DATABASE = frozenset({"init", "demo", "sandbox"})
LIBRARIES = (
    "Traceback",
    "internal error",
    "Background on this error",
    "[SQL:",
    "sqlalchemy.",
    "sqlite3.",
    "psycopg.",
)
MOST_LINES = 4  # a line for each source of `sync`, and one for the command


@dataclass(kw_only=True)
class Case:
    """A way to fail. url: of the database; before: what the process does first."""

    url: str
    powerless: bool = False
    before: Callable[[], object] = lambda: None
    stdout: Stream = "file"
    stderr: Stream = "file"
    variables: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def sound() -> Iterator[Path]:
    """A folder that anybody may enter, with a configuration, a synced database and a plan."""
    with tempfile.TemporaryDirectory(prefix="etl") as parent, Sandbox(small()) as sandbox:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "sound"
        folder.mkdir()
        text = config_text(sandbox, "sqlite:///etl.db")
        text = text.replace("[sources.ld]\n", '[sources.ld]\nschedule = "0 0 1 1 *"\n')
        (folder / "etl.toml").write_text(text)
        for words in ("sync", "plan --out plan.json"):
            ended = run("--config", "etl.toml", *words.split(), at=folder)
            assert ended.code == 0, ended
        yield folder


@pytest.fixture
def folder(sound: Path) -> Iterator[Path]:
    """A copy of it, for one case."""
    copy = sound.with_name("case")
    shutil.copytree(sound, copy)
    yield copy
    copy.chmod(0o755)
    shutil.rmtree(copy)


def alter(folder: Path, script: str) -> None:
    with closing(sqlite3.connect(folder / "etl.db")) as connection:
        connection.executescript(script)


def emptied(folder: Path, script: str) -> str:
    (folder / "etl.db").unlink()
    alter(folder, script)
    return "sqlite:///etl.db"


def missing(folder: Path) -> Case:
    (folder / "etl.db").unlink()
    return Case(url="sqlite:///etl.db")


def no_folder(folder: Path) -> Case:
    (folder / "file").write_text("a file")
    return Case(url="sqlite:///file/etl.db")


def is_folder(folder: Path) -> Case:
    (folder / "inner").mkdir()
    return Case(url="sqlite:///inner")


def empty_file(folder: Path) -> Case:
    (folder / "etl.db").write_bytes(b"")
    return Case(url="sqlite:///etl.db")


def no_database(folder: Path) -> Case:
    (folder / "etl.db").write_text("this is no database\n" * 1000)
    return Case(url="sqlite:///etl.db")


def malformed(folder: Path) -> Case:
    file = folder / "etl.db"
    content = bytearray(file.read_bytes())
    for place in range(8192, len(content), 4096):
        content[place : place + 512] = b"\xaa" * 512
    file.write_bytes(content)
    return Case(url="sqlite:///etl.db")


def truncated(folder: Path) -> Case:
    with (folder / "etl.db").open("r+b") as file:
        file.truncate(20_000)
    return Case(url="sqlite:///etl.db")


def other_tables(folder: Path) -> Case:
    return Case(url=emptied(folder, "CREATE TABLE users (id INTEGER); CREATE TABLE orders (x);"))


def same_names(folder: Path) -> Case:
    script = "CREATE TABLE projects (id INTEGER); CREATE TABLE runs (id INTEGER, at TEXT);"
    return Case(url=emptied(folder, script))


def other_migrations(folder: Path) -> Case:
    script = (
        "CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE users (id INTEGER); "
        "INSERT INTO alembic_version VALUES ('ae1027a6acf')"
    )
    return Case(url=emptied(folder, script))


def newer(folder: Path) -> Case:
    alter(folder, "UPDATE alembic_version SET version_num = '9999'")
    return Case(url="sqlite:///etl.db")


def older(folder: Path) -> Case:
    alter(folder, "UPDATE alembic_version SET version_num = '0001'")
    return Case(url="sqlite:///etl.db")


def no_text(folder: Path) -> Case:
    for table in ("projects", "layers", "environments"):
        alter(folder, f"UPDATE {table} SET name = CAST(x'ff00fe' AS TEXT)")  # noqa: S608
    alter(folder, "UPDATE runs SET error = CAST(x'ff00fe' AS TEXT)")
    return Case(url="sqlite:///etl.db")


def no_values(folder: Path) -> Case:
    for table in ("projects", "layers", "environments"):
        alter(folder, f"UPDATE {table} SET raw = '{{', changed_at = 'lately'")  # noqa: S608
    alter(folder, "UPDATE runs SET started_at = 'lately', notes = '['")
    return Case(url="sqlite:///etl.db")


def read_only(folder: Path) -> Case:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    return Case(url="sqlite:///etl.db", powerless=True)


def read_only_while_written(folder: Path) -> Case:
    """Another process has it open: the write-ahead log is there, and may not be written."""
    connection = sqlite3.connect(folder / "etl.db")
    connection.execute("UPDATE runs SET notes = '[]'")
    connection.commit()
    _KEPT.append(connection)
    return read_only(folder)


_KEPT: list[Any] = []


def locked(folder: Path) -> Case:
    connection = sqlite3.connect(folder / "etl.db", isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("UPDATE runs SET notes = '[]'")
    _KEPT.append(connection)

    def hurry() -> None:
        engines.BUSY_SECONDS = engines.WRITER_SECONDS = 0

    return Case(url="sqlite:///etl.db", before=hurry)


def full(folder: Path) -> Case:
    def limit() -> None:
        import resource

        size = (folder / "etl.db").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    return Case(url="sqlite:///etl.db", before=limit)


CASES = (
    *(missing, no_folder, is_folder, empty_file, no_database, malformed, truncated),
    *(other_tables, same_names, other_migrations, newer, older, no_text, no_values),
    *(read_only, read_only_while_written, locked, full),
)


QUICK = (no_database, read_only)


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in CASES],
    ids=lambda case: case.__name__,
)
def test_sqlite(case: Callable[[Path], Case], folder: Path) -> None:
    try:
        assert troubles(case(folder), folder) == []
    finally:
        while _KEPT:
            _KEPT.pop().close()


@pytest.mark.slow
@pytest.mark.parametrize("case", [missing, empty_file], ids=lambda case: case.__name__)
def test_who_only_reads_makes_nothing(case: Callable[[Path], Case], folder: Path) -> None:
    url, before = case(folder).url, sorted(folder.iterdir())
    for words in commands():
        if " ".join(words).startswith(READING):
            ended = run("--config", "etl.toml", *words, at=folder, ETL_DATABASE_URL=url)
            assert (ended.code in (0, 1, 2), trouble(ended)) == (True, ""), (words, ended)
            assert sorted(folder.iterdir()) == before, words


READING = (
    *("check", "status", "runs", "show", "changes", "history", "diff", "report", "audit"),
    *("rejects", "drift", "notices", "web", "db current", "db check"),
)
WITHOUT_ROWS = (  # commands that do without a database, make one, or tell that there is none
    *("init", "demo", "sandbox", "config", "sync", "backfill", "plan", "schedule", "worker"),
    *("db upgrade", "check", "status", "source list"),
)


def test_a_database_that_is_not_there_is_no_empty_one(folder: Path) -> None:
    url, before = missing(folder).url, sorted(folder.iterdir())
    found = []
    for words in commands():
        if " ".join(words).startswith(WITHOUT_ROWS):
            continue
        ended = run("--config", "etl.toml", *words, at=folder, ETL_DATABASE_URL=url)
        whole = (ended.code, ended.out, ended.err.count("\n"), sorted(folder.iterdir()))
        said = "there is no database" in ended.err and "etl.db" in ended.err
        if whole != (2, "", 1, before) or not (said and "database.url" in ended.err):
            found.append((words, ended))
    assert found == []
    folder.joinpath("inner").mkdir()
    for command in ("status", "audit", "db current", "sync ld", "prune"):
        for url in ("sqlite:///inner", "sqlite:////dev/null"):
            ended = run("--config", "etl.toml", *command.split(), at=folder, ETL_DATABASE_URL=url)
            assert (ended.code, "is no file" in ended.out + ended.err) == (2, True), ended
    folder.joinpath("inner").rmdir()
    assert "nothing was synced yet" in run("--config", "etl.toml", "status", at=folder).out
    checked = run("--config", "etl.toml", "check", "ld", at=folder)
    assert "database: not there yet" in checked.out
    listed = run("--config", "etl.toml", "source", "list", at=folder)
    assert (listed.code, "launchdarkly" in listed.out) == (0, True), listed
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["closed", "full"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_output(name: str, stream: Stream, folder: Path) -> None:
    streams: Any = {name: stream}
    case = Case(url="sqlite:///etl.db", **streams)
    assert troubles(case, folder, leaving_out=("demo",)) == []


# --- folders


def read_only_folder(folder: Path) -> None:
    folder.chmod(0o555)


def unreadable_folder(folder: Path) -> None:
    folder.chmod(0o000)


def file_as_folder(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file")


def broken_link(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to(folder.with_name("nowhere") / "at all")


FOLDERS = (read_only_folder, unreadable_folder, file_as_folder, broken_link)
USING_FOLDERS = {  # commands that use a folder of files -> whether they can go without
    "export layers --out files/layers.csv": False,
    "export layers --out files/layers.parquet": False,
    "report layer_capacity --format csv --out files/report.csv": False,
    "report changes --since 7d --format html --out files/report.html": False,
    "plan --out files/plan.json": False,
    "apply files/plan.json": False,
    "--config files/new.toml init": False,
    "demo --folder files": False,
    "sync ld": True,
    "backfill ld": True,
    "backfill ld --from-archive files": True,
    "reprocess ld --from-archive files": True,
    "prune": True,
    "source rename ld old": True,
}


@pytest.mark.slow
@pytest.mark.parametrize("spoil", FOLDERS, ids=lambda spoil: spoil.__name__)
def test_folder(spoil: Callable[[Path], None], folder: Path) -> None:
    with (folder / "etl.toml").open("a") as config:
        config.write('\n[sources.ld.archive]\ndir = "files"\n')
    files = folder / "files"
    files.mkdir()
    spoil(files)
    try:
        found = []
        for words, may_succeed in USING_FOLDERS.items():
            ended = run("--config", "etl.toml", *words.split(), at=folder, powerless=True)
            why = trouble(ended) or ("" if ended.code or may_succeed else "succeeds")
            found += [(words, why, ended)] if why else []
        assert found == []
    finally:
        if files.is_dir():
            files.chmod(0o755)


# --- the network


@dataclass(frozen=True, slots=True)
class Away:
    """Where a source is looked for, through which proxy, and the exit codes of that."""

    url: str
    proxy: str = ""
    codes: tuple[int, ...] = (1, 75)


@contextmanager
def unknown_host() -> Iterator[Away]:
    yield Away("https://no-such-host.invalid")


@contextmanager
def no_host_name() -> Iterator[Away]:
    yield Away(f"https://{'a' * 70}.example")


@contextmanager
def refused() -> Iterator[Away]:
    yield Away(f"http://127.0.0.1:{free_port()}", codes=(75,))


@contextmanager
def unknown_authority() -> Iterator[Away]:
    with tls.tls_server(tls.STRANGER.issue_cert("localhost"), b"") as server:
        yield Away(f"https://localhost:{server.port}", codes=(1,))


@contextmanager
def expired() -> Iterator[Away]:
    certificate = tls.AUTHORITY.issue_cert("localhost", not_after=tls.EXPIRED)
    with tls.tls_server(certificate, b"") as server:
        yield Away(f"https://localhost:{server.port}", codes=(1,))


@contextmanager
def certificate_of_another() -> Iterator[Away]:
    with tls.tls_server(tls.AUTHORITY.issue_cert("other.example"), b"") as server:
        yield Away(f"https://localhost:{server.port}", codes=(1,))


@contextmanager
def no_tls() -> Iterator[Away]:
    def refuse(_server: tls.Server, connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with tls.serving(refuse) as server:
        yield Away(f"https://localhost:{server.port}", codes=(1,))


@contextmanager
def breaking_off() -> Iterator[Away]:
    with tls.serving(lambda _server, connection: connection.recv(65536)) as server:
        yield Away(f"http://127.0.0.1:{server.port}", codes=(75,))


@contextmanager
def no_http() -> Iterator[Away]:
    with tls.plain_server(b"220 mail.example ESMTP\r\n") as server:
        yield Away(f"http://127.0.0.1:{server.port}")


@contextmanager
def unknown_proxy() -> Iterator[Away]:
    yield Away("https://vendor.invalid", "http://no-such-proxy.invalid:3128")


@contextmanager
def refused_by_proxy() -> Iterator[Away]:
    with tls.proxy_server("407 Proxy Authentication Required") as proxy:
        yield Away("https://vendor.invalid", f"http://me:hidden@127.0.0.1:{proxy.port}", (1,))


@contextmanager
def proxy_is_down() -> Iterator[Away]:
    yield Away("https://vendor.invalid", f"http://127.0.0.1:{free_port()}", (75,))


NETWORK = (
    *(unknown_host, no_host_name, refused, unknown_authority, expired, certificate_of_another),
    *(no_tls, breaking_off, no_http, unknown_proxy, refused_by_proxy, proxy_is_down),
)
ASKING = ("check", "sync ld", "sync", "plan", "plan --out new.json", "backfill ld")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(one, marks=() if one is unknown_authority else pytest.mark.slow)
        for one in NETWORK
    ],
    ids=lambda case: case.__name__,
)
def test_network(case: Callable[[], Any], folder: Path) -> None:
    with ExitStack() as stack:
        away = stack.enter_context(case())
        _move(folder, away)
        variables = {"SSL_CERT_FILE": str(tls.authority_file(folder)), "ETL_PROXY": away.proxy}
        ended = run(
            *("--config", "etl.toml", "schedule", "--health-port", "0"),
            at=folder,
            awaited="ld: ",
            **variables,
        )
        assert (ended.code, trouble(ended, lines=50)) == (0, ""), ended
        found = []
        for words in ASKING:
            ended = run("--config", "etl.toml", *words.split(), at=folder, **variables)
            why = trouble(ended) or ("" if ended.code in away.codes else f"code {ended.code}")
            why = why or ("shows a password" if "hidden" in ended.err + ended.out else "")
            found += [(words, why, ended)] if why else []
        assert found == []


def _move(folder: Path, away: Away) -> None:
    """All sources are there now, and that of the schedule is overdue."""
    text = (folder / "etl.toml").read_text()
    more = 'proxy = { env = "ETL_PROXY" }\n' if away.proxy else ""
    text = re.sub(r"base_url = .*\n", lambda _: f'base_url = "{away.url}"\n{more}', text)
    (folder / "etl.toml").write_text(text)
    alter(folder, "UPDATE runs SET started_at = '2020' || substr(started_at, 5)")


def troubles(case: Case, folder: Path, leaving_out: Any = WITHOUT_DATABASE) -> list[Any]:
    """The commands that did not end as they should."""
    found = []
    for words in commands():
        if words[0] in leaving_out or (case.stdout != "file" and words[0] in LASTING):
            continue
        ended = run(
            *("--config", "etl.toml", *words),
            at=folder,
            powerless=case.powerless,
            before=case.before,
            stdout=case.stdout,
            stderr=case.stderr,
            ETL_DATABASE_URL=case.url,
            **case.variables,
        )
        why = trouble(ended)
        if why and not (why == "silent" and case.stderr != "file"):
            found.append((" ".join(words), why, ended))
    return found


def trouble(ended: Ended, lines: int = MOST_LINES) -> str:
    if ended.code not in DOCUMENTED:
        return f"exit code {ended.code}"
    for word in LIBRARIES:
        if word in ended.err or word in ended.out:
            return f"shows {word}"
    if ended.err.count("\n") > lines:
        return "too many lines"
    return "" if ended.code in (0, 6) or ended.err or ended.out else "silent"


# --- Postgres


def nobody_listens(_server: Engine, _name: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{free_port()}/etl"


def no_such_database(server: Engine, _name: str) -> str:
    return written(server, "etl_is_not_there")


def no_schema(server: Engine, name: str) -> str:
    return postgres.create(server, name).replace("+psycopg", "")


def others_tables(server: Engine, name: str) -> str:
    return made(server, name, "CREATE TABLE projects (id int)", "CREATE TABLE runs (id int)")


def others_migrations(server: Engine, name: str) -> str:
    return made(
        server,
        name,
        "CREATE TABLE alembic_version (version_num text)",
        "INSERT INTO alembic_version VALUES ('ae1027a6acf')",
    )


def another_encoding(server: Engine, name: str) -> str:
    with server.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        )
    return written(server, name)


def no_encoding(server: Engine, name: str) -> str:
    with server.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
        )
    return written(server, name)


def no_rights(server: Engine, name: str) -> str:
    """A role that may connect, and nothing else: since Postgres 15 not even make tables."""
    url = no_schema(server, name)
    with server.connect() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS etl_test_stranger")
        connection.exec_driver_sql("CREATE ROLE etl_test_stranger LOGIN")
    return str(make_url(url).set(username="etl_test_stranger"))


def made(server: Engine, name: str, *statements: str) -> str:
    url = postgres.create(server, name)
    admin = postgres.admin_engine(make_url(url))
    with admin.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    admin.dispose()
    return url.replace("+psycopg", "")


def written(server: Engine, name: str) -> str:
    return server.url.set(drivername="postgresql", database=name).render_as_string(False)


POSTGRES_CASES = (
    *(nobody_listens, no_such_database, no_schema, others_tables, others_migrations),
    *(another_encoding, no_encoding, no_rights),
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(one, marks=() if one is no_rights else pytest.mark.slow)
        for one in POSTGRES_CASES
    ],
    ids=lambda case: case.__name__,
)
def test_postgres(
    case: Callable[[Engine, str], str], folder: Path, postgres_server: Engine
) -> None:
    name = "etl_test_every_command"
    postgres.drop(postgres_server, name)
    try:
        url = case(postgres_server, name)
        assert troubles(Case(url=url), folder) == []
    finally:
        postgres.drop(postgres_server, name)
