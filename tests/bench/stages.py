"""Where the time of a first load goes: a profile of one, summed up by what the code was doing."""

import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import contestants
from tests.bench.contestants import ENVIRON
from tests.bench.measure import asked

# what a function's place says of its work; the first that fits
STAGES = (
    ("SQLite: statements, commits", ("sqlite3.",)),
    ("JSON: parsing, redaction", ("orjson.loads", "json/decoder", "wire.py", "of 'bytes'")),
    ("JSON: the text that is hashed and stored", ("etl/text.py", "orjson.dumps", "json/encoder")),
    ("hashes and what they are made of", ("transform.py", "blake2", "load.py")),
    ("validation and records", ("pydantic", "providers/", "record.py", "datetime")),
    ("rows for staging", ("db/staging.py", "db/upsert.py", "intake.py", "seen.py", "walk.py")),
    ("HTTP", ("httpx", "httpcore", "h11", "_socket", "client.py", "sockets.py", "selectors")),
    ("starting: imports", ("importlib", "marshal", "builtins.compile", "typer", "rich")),
    ("SQLAlchemy", ("sqlalchemy",)),
)


def shares(url: str) -> dict[str, dict[str, float]]:
    """Phase -> stage -> its share of the profiled time; shares, as a profiler slows code down."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        sync = contestants.alone(url, f"{folder}/bench.db", Path(folder))
        found = {}
        for phase in ("initial", "unchanged", "1 % changed"):
            asked(url, f"state?n={int(phase == '1 % changed')}")
            out = Path(folder) / "profile"
            profiled = [sys.executable, "-m", "cProfile", "-o", str(out), *sync[1:]]
            subprocess.run(profiled, env=ENVIRON, check=True, stdout=subprocess.DEVNULL)
            found[phase] = _shares(out)
        return found


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
