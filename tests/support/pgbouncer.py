"""PgBouncer in transaction mode: a connection to PostgreSQL is a client's for one transaction.

`.ci/pgbouncer` installs it. Where it is not there its tests are skipped, but never in CI.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.cli.command import free_port
from tests.support.waiting import until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
NOBODY = 65534
CONFIG = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 200
default_pool_size = {servers}
server_idle_timeout = 30
logfile = {log}
{more}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A running pool."""

    server: URL
    port: int

    def url(self, database: str) -> str:
        """The URL of a database behind the pool, as the configuration has it."""
        return f"postgresql://{self.server.username}@127.0.0.1:{self.port}/{database}"


@contextmanager
def pgbouncer(server: URL, *, servers: int = 4, more: str = "") -> Iterator[Pool]:
    """A pool with so many connections to each database of that server."""
    if PROGRAM is None:
        assert "CI" not in os.environ, "PgBouncer is not installed; .ci/pgbouncer installs it"
        pytest.skip("PgBouncer is not installed; .ci/pgbouncer installs it")
    host, listen = server.query.get("host") or server.host or "", free_port()
    with tempfile.TemporaryDirectory(prefix="etl") as folder:
        os.chmod(folder, 0o777)  # noqa: PTH101, S103  PgBouncer does not run as root
        config, log = Path(folder) / "pgbouncer.ini", Path(folder) / "pgbouncer.log"
        config.write_text(
            CONFIG.format(
                host=host,
                port=server.port or 5432,
                user=server.username,
                listen=listen,
                servers=servers,
                log=log,
                more=more,
            )
        )
        user = _user(str(host)) if os.geteuid() == 0 else None
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            [PROGRAM, str(config)], stdout=quiet, stderr=quiet, user=user, group=user
        ) as process:
            try:
                until(lambda: log.exists() and "process up" in log.read_text())
                yield Pool(server=server, port=listen)
            finally:
                process.terminate()


def _user(host: str) -> int:
    """PgBouncer does not run as root; the folder of a socket may be its owner's only."""
    return Path(host).stat().st_uid if host.startswith("/") else NOBODY
