"""A Postgres that refuses connections in mid-run: one message for its source, others go on."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from etl.sandbox import Fault, Sandbox, World
from tests.cli.command import Place, etl
from tests.conftest import Databases
from tests.support.runs import config_text, small


@pytest.mark.row(47)
def test_a_refused_connection_is_one_line_and_the_others_go_on(
    databases: Databases, postgres_server: Engine, tmp_path: Path
) -> None:
    """No connection is allowed from the middle of the first source to the middle of the second."""
    with databases("postgres") as engine, Sandbox(small()) as sandbox:
        url = engine.url.render_as_string(hide_password=False)
        name = str(make_url(url).database)
        config = tmp_path / "etl.toml"
        config.write_text(config_text(sandbox, url))
        here = Place(sandbox=sandbox, config=config)
        assert here.etl("sync", "--concurrency", "1").code == 0

        def refuse(_world: World) -> None:
            with postgres_server.connect() as admin:
                admin.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                kill = (
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                )
                admin.execute(text(kill), {"name": name})

        sandbox.add_fault(Fault("launchdarkly", "mutate", after=1, times=1, arg=refuse))
        ended = etl("--config", str(config), "sync", "--concurrency", "1")
        with postgres_server.connect() as admin:
            admin.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert ended.code == 1, ended
        told = ended.out + ended.err
        assert "Traceback" not in told
        assert "internal error" not in told
        assert {f"{source}: failed" in told for source in ("ld", "st", "ly")} == {True}, told
        assert here.etl("sync", "--concurrency", "1").code == 0
