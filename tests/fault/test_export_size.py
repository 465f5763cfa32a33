"""An export holds some rows in memory, however many there are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support.forks import ROOT

FEW, MANY = 40_000, 200_000
MOST_MEMORY = 1.3

RUN = """
INSERT INTO runs (run_id, source, provider, kind, status, scope, attempts, started_at, etl_version)
VALUES (1, 'ld', 'launchdarkly', 'sync', 'ok', '', 1, '2026-01-01 00:00:00.000000', '0')
"""
LAYERS = """
WITH RECURSIVE number (n) AS (
  SELECT CAST(:first AS INTEGER) UNION ALL SELECT n + 1 FROM number WHERE n < :last
)
INSERT INTO layers (layer_id, source, provider, parent_id, external_id, key, name, content_hash,
  version, operation, run_id, first_seen_at, changed_at, is_deleted, description, tags, raw)
SELECT n, 'ld', 'launchdarkly', 'p', CAST(n AS TEXT), 'layer-' || n, 'Layer ' || n, '1:' || n,
  1, 'created', 1, '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', false, :words,
  {tags}, {raw}
FROM number
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_five_times_the_rows_take_no_more_memory(engine: Engine, tmp_path: Path, form: str) -> None:
    """Half a minute; 1 KB a payload, so that the few already fill a row group of Parquet."""
    found = {}
    for first, last in ((1, FEW), (FEW + 1, MANY)):
        _fill(engine, first, last)
        found[last] = _exported(engine, form, tmp_path / "out")
    print(engine.dialect.name, form, found)  # noqa: T201  figures for those who ask with -s
    assert [found[many]["rows"] for many in (FEW, MANY)] == [FEW, MANY]
    assert found[MANY]["peak"] < MOST_MEMORY * found[FEW]["peak"]


TAGS = """'["a","b"]'"""


def _fill(engine: Engine, first: int, last: int) -> None:
    raw = json.dumps({"description": "every word of it " * 60})
    typed = "CAST({} AS JSONB)" if engine.dialect.name == "postgresql" else "{}"
    statement = LAYERS.format(tags=typed.format(TAGS), raw=typed.format(":raw"))
    values = {"first": first, "last": last, "words": "of some length " * 4, "raw": raw}
    with engine.begin() as connection:
        if first == 1:
            connection.execute(text(RUN))
        connection.execute(text(statement), values)


def _exported(engine: Engine, form: str, place: Path) -> Any:
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.support.exported", url, "layers", form, str(place)]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=600)
    return json.loads(ended.stdout)
