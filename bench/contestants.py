"""Who is compared, and on what: commands for a server's URL and a fresh database."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import make_url

HERE = Path(__file__).parent
ROOT = HERE.parent
PEER = ROOT / ".bench-venv" / "bin" / "python"
PHASES = {"initial": 0, "unchanged": 0, "1 % changed": 1}  # -> the state of the world
BOOKKEEPING = ("runs", "run_streams", "leases", "ledger", "rate_budgets")  # of etl's runs
VENDORS = ("launchdarkly", "statsig", "layers")
ENVIRON = {**os.environ, "BENCH_KEY": "bench", "PYTHONWARNINGS": "ignore"}

# dlt's first load of large takes 56 s with these, 67 s without; at medium they cost more
DLT_AT_LARGE = {
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__START_METHOD": "fork",
    "DATA_WRITER__FILE_MAX_ITEMS": "100000",
}

Command = Callable[[str, str, Path], list[str]]  # URL, database, folder -> argv


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A program on one kind of database."""

    name: str
    kind: str
    command: Command

    @property
    def label(self) -> str:
        """As the tables name it."""
        return f"{self.name}, {'Postgres' if self.kind == 'postgres' else 'SQLite'}"


def etl(url: str, database: str, folder: Path) -> list[str]:
    """This project: three sources at that server, without rate limits of their own."""
    return [sys.executable, "-m", "etl", "--config", str(config(url, database, folder)), "sync"]


def alone(url: str, database: str, folder: Path) -> list[str]:
    """The same, one source after the other."""
    return [*etl(url, database, folder), "--concurrency", "1"]


def upgrade(command: list[str]) -> list[str]:
    """What prepares the database of such a command."""
    return [*command[: command.index("sync")], "db", "upgrade"]


def config(url: str, database: str, folder: Path) -> Path:
    """The configuration of a run."""
    address = database if "://" in database else f"sqlite:///{database}"
    lines = [f'[database]\nurl = "{address}"']
    lines += [
        f'[sources.{name}]\nprovider = "{name}"\napi_key = {{ env = "BENCH_KEY" }}\n'
        f'base_url = "{url}"\n[sources.{name}.limits]\nrate_limits = []'
        for name in VENDORS
    ]
    path = folder / "etl.toml"
    path.write_text("\n".join(lines))
    return path


def floor(client: str) -> Command:
    """The least that can be done, over that client."""
    return lambda url, database, _folder: [
        sys.executable,
        str(HERE / "floor.py"),
        url,
        database,
        client,
    ]


def dlt(strategy: str) -> Command:
    """dlt with that strategy."""

    def command(url: str, database: str, folder: Path) -> list[str]:
        address = database if "://" in database else f"sqlite:///{database}"
        state = str(folder / "state")
        return [str(PEER), str(HERE / "peer.py"), url, address, state, strategy]

    return command


COMMANDS: dict[str, Command] = {
    "etl": etl,
    "etl, one process": alone,
    "floor": floor("httpx"),
    "floor, bare socket": floor("bare"),
    "dlt merge": dlt("merge"),
    "dlt scd2": dlt("scd2"),
    "dlt merge, child rows": dlt("child rows"),
}
# Each takes minutes at large, and one source is nearly all of it
NOT_AT_LARGE = ("etl, one process", "dlt merge, child rows")
EVERYONE = tuple(
    Contestant(name=name, kind=kind, command=command)
    for kind in ("sqlite", "postgres")
    for name, command in COMMANDS.items()
)


@contextmanager
def fresh(contestant: Contestant, admin_url: str, folder: Path) -> Iterator[str]:
    """A database of its own, gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if contestant.kind == "sqlite":
            yield str(folder / "bench.db")
        else:
            with psycopg.connect(admin_url, autocommit=True) as admin:
                admin.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
                admin.execute("CREATE DATABASE bench")
            yield str(make_url(admin_url).set(database="bench").render_as_string(False))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def written(database: str) -> tuple[int, int]:
    """Of a Postgres: where its WAL ends, how many rows were ever written, bookkeeping aside."""
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(
            "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, "
            "coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) "
            "FROM pg_stat_user_tables WHERE relname <> ALL(%s)",
            [list(BOOKKEEPING)],
        ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
