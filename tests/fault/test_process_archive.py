"""Row 44 for the archive: killed anywhere, all that an index names is there, and the rest loads."""

import json
from itertools import count as numbers
from pathlib import Path
from typing import Any

import pytest

from etl.sandbox import Sandbox
from tests.conftest import Databases
from tests.fault.test_process_kill import config_for
from tests.support.forks import Fork
from tests.support.internals.running import PROVIDERS
from tests.support.internals.values import archive_page as page
from tests.support.internals.values import found_in, indexes, lines
from tests.support.runs import small


@pytest.mark.row(44)
@pytest.mark.slow
def test_an_archive_is_readable_wherever_a_run_was_killed(
    databases: Databases, tmp_path: Path, fork: Fork
) -> None:
    folder = tmp_path / "archive"
    tables: dict[str, Any] = {
        "archive": {"dir": str(folder)},
        "layers": {"page_size": 5},
        "limits": {"rate_limits": []},
    }
    with databases("sqlite") as engine, Sandbox(small(big_project=True)) as sandbox:
        config = config_for(engine, sandbox, tmp_path, st=tables)
        killed = 0
        for commit in numbers(1):
            sandbox.world.evolve(changed=0.2, deleted=1, created=1, restored=0)
            if not fork(config, "st", commit=commit, checkpoint=0.0).killed:
                break
            killed += 1
            named = [
                answer["sha256"]
                for index in indexes(folder / "st")
                for answer in map(json.loads, lines(index))
                if "sha256" in answer
            ]
            assert all(page(folder / "st", name) for name in named)
            assert fork(config, "st").code == 0
        found = found_in(folder, "st", PROVIDERS["statsig"])
    assert killed > 5
    assert found.left_out
    assert found.dumps
