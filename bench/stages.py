"""Where the time of runs goes: a profile of each, summed up by what the code was doing."""

import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.contestants import ENVIRON, PHASES, Contestant, alone, fresh, upgrade
from bench.measure import asked

# what a function's place says of its work; the first that fits
STAGES = (
    ("the database: statements, commits, COPY", ("sqlite3.", "/psycopg/", "psycopg_binary")),
    ("JSON: parsing, redaction", ("orjson.loads", "json/decoder", "wire.py", "of 'bytes'")),
    (
        "JSON: the text that is hashed and stored",
        ("etl/json_text.py", "orjson.dumps", "json/encoder"),
    ),
    ("hashes and what they are made of", ("transform.py", "blake2", "load.py")),
    ("validation and records", ("pydantic", "providers/", "record.py", "datetime")),
    ("rows for staging", ("db/staging.py", "db/upsert.py", "intake.py", "seen.py", "walk.py")),
    ("HTTP", ("httpx", "httpcore", "h11", "_socket", "client.py", "sockets.py", "selectors")),
    ("starting: imports", ("importlib", "marshal", "builtins.compile", "typer", "rich")),
    ("SQLAlchemy", ("sqlalchemy",)),
)


def shares(url: str, admin: str) -> dict[str, dict[str, float]]:
    """Run -> stage -> its share of the profiled time; shares, as a profiler slows code down."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        phases = ("initial", "unchanged", "1 % changed")
        found = {phase: _profiled(url, str(folder / "bench.db"), folder, phase) for phase in phases}
        on_postgres = Contestant(name="etl", kind="postgres", command=alone)
        with fresh(on_postgres, admin, folder / "lap") as database:
            prepare = upgrade(alone(url, database, folder))
            subprocess.run(prepare, env=ENVIRON, check=True, stdout=subprocess.DEVNULL)
            found["initial, Postgres"] = _profiled(url, database, folder, "initial")
        return found


def _profiled(url: str, database: str, folder: Path, phase: str) -> dict[str, float]:
    asked(url, f"state?n={PHASES[phase]}")
    out = folder / "profile"
    profiled = [sys.executable, "-m", "cProfile", "-o", str(out), *alone(url, database, folder)[1:]]
    subprocess.run(profiled, env=ENVIRON, check=True, stdout=subprocess.DEVNULL)
    return _shares(out)


def _shares(path: Path) -> dict[str, float]:
    sums = dict.fromkeys((name for name, _ in STAGES), 0.0)
    sums["everything else"] = 0.0
    for (file, _line, function), (_, _, own, _, _) in pstats.Stats(str(path)).stats.items():  # type: ignore[attr-defined]  # missing in typeshed
        sums[_stage(f"{file} {function}")] += own
    whole = sum(sums.values())
    return {name: own / whole for name, own in sums.items()}


def _stage(place: str) -> str:
    return next(
        (name for name, marks in STAGES if any(mark in place for mark in marks)), "everything else"
    )
