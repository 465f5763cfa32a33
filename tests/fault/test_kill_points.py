"""A thousand deaths: runs killed at random commits and instants lose, double and halve nothing.

After every story the database holds what that of an undisturbed twin holds: the same current rows,
versions and changes, but for ids and times.
"""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from etl.errors import OK, PARTIAL
from etl.sandbox import Sandbox
from tests.conftest import Databases
from tests.support.database import differing
from tests.support.forks import Ended, Fork
from tests.support.history import violations
from tests.support.runs import SOURCES, config_text, settings_for, small, sync_all

TABLES: dict[str, Any] = {
    "ld": {"limits": {"rate_limits": []}},
    "st": {"layers": {"page_size": 5}, "limits": {"rate_limits": []}},
    "ly": {"projects": {"page_size": 3}, "limits": {"rate_limits": []}},
}
STORIES = [
    *(pytest.param("sqlite", seed, 180, marks=pytest.mark.slow) for seed in range(1, 6)),
    pytest.param("postgres", 6, 100, marks=pytest.mark.slow),
    ("sqlite", 7, 12),
]
MOST_KILLS = 4  # of one run, before it may go on to its end
LATEST_COMMIT = 9


@dataclass(slots=True, kw_only=True)
class Killer:
    """Starts runs and kills them; `seconds` is how long each source's last whole run took."""

    fork: Fork
    config: Path
    dice: Random
    kills: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0.06))

    def kill(self, source: str) -> Ended:
        """A run that is killed at some moment, unless it ends before."""
        often = {"checkpoint": self.dice.choice([0.0, 0.0, 0.2])}
        if self.dice.random() < 0.5:
            ended = self.fork(
                self.config, source, commit=self.dice.randint(1, LATEST_COMMIT), **often
            )
        else:
            delay = self.dice.uniform(0.2, 1.1) * self.seconds[source]
            ended = self.fork(self.config, source, delay=delay, **often)
        self.kills += ended.killed
        assert ended.killed or ended.code in (OK, PARTIAL), ended
        return ended

    def finish(self, source: str) -> None:
        """A run to its end, and one more: what was gone on with may prove too little (partial)."""
        assert self.fork(self.config, source).code in (OK, PARTIAL)
        ended = self.fork(self.config, source)
        assert (ended.code, ended.status) == (OK, "ok"), ended
        self.seconds[source] = ended.seconds


@pytest.mark.row(44, 53)
@pytest.mark.parametrize(("kind", "seed", "kills"), STORIES)
def test_killed_runs_end_as_if_nothing_had_happened(
    databases: Databases, fork: Fork, tmp_path: Path, kind: str, seed: int, kills: int
) -> None:
    with (
        databases(kind) as engine,
        databases(kind) as undisturbed,
        Sandbox(small(seed, big_project=True)) as sandbox,
    ):
        config = tmp_path / "etl.toml"
        url = engine.url.render_as_string(hide_password=False)
        config.write_text(config_text(sandbox, url, **TABLES))
        settings = settings_for(sandbox, **TABLES)
        killer = Killer(fork=fork, config=config, dice=Random(seed))  # noqa: S311  no secret
        while killer.kills < kills:
            for source in SOURCES:
                for _ in range(killer.dice.randint(1, MOST_KILLS)):
                    killer.kill(source)
                killer.finish(source)
            sync_all(undisturbed, settings)
            assert differing(engine, undisturbed) == set(), f"after {killer.kills} kills"
            sandbox.world.evolve(changed=0.2, deleted=2, created=2)
        assert violations(engine) == []
