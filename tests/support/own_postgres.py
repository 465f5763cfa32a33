"""A PostgreSQL of a test's own, which it may stop, crash and start again."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import make_url

from etl.db import migrations
from etl.db.engine import open_engine
from tests.support import postgres

DYNAMIC_MEMORY = "dynamic_shared_memory_type = mmap\n"  # in its folder, which is removed


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPostgres:
    """A server that was started here; its databases have short lives."""

    server: Any

    def database(self, name: str) -> str:
        """A new database with the schema of this code; -> its URL."""
        url = make_url(self.server.get_uri()).set(drivername="postgresql+psycopg")
        admin = postgres.admin_engine(url)
        made = postgres.create(admin, name)
        admin.dispose()
        engine = open_engine(made)
        migrations.upgrade(engine)
        engine.dispose()
        return made

    def stop(self, mode: str) -> None:
        """`fast`: connections are cut; `immediate`: as a crash, unlogged tables are emptied."""
        command = [self.server.bin_path / "pg_ctl", "-w", "-D", self.server.pgdata]
        quiet = subprocess.DEVNULL  # a pipe would be held by the server
        subprocess.run(
            [*command, "-m", mode, "stop"],
            check=True,
            stdout=quiet,
            stderr=quiet,
            user=self.server.system_user,
        )

    def start(self) -> None:
        """It serves again, under the same URLs."""
        self.server.ensure_postgres_running()

    def restart(self, mode: str) -> None:
        """It was away for a moment."""
        self.stop(mode)
        self.start()


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A running server; stopped and removed at the end."""
    with postgres.started(DYNAMIC_MEMORY) as server:
        yield OwnPostgres(server=server)
