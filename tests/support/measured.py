"""`python -m tests.support.measured CONFIG SOURCE`: what one run took, as JSON on stdout."""

import json
import sys
import time
from pathlib import Path

from etl.config.settings import load
from etl.db.engine import open_engine
from etl.operations import sync


def main(path: str, source: str) -> None:
    """Tells seconds, of them those of the processor, the peak of memory, and how it ended."""
    settings = load(Path(path), only=[source])
    engine = open_engine(settings.database_url)
    began, worked = time.monotonic(), time.process_time()
    report = sync.sync(engine, settings, source, sync.RunOptions())
    found = {
        "seconds": time.monotonic() - began,
        "work": time.process_time() - worked,
        "peak": peak(),
        "status": report.status,
        "changed": report.changed,
        "error": report.error,
    }
    print(json.dumps(found))  # noqa: T201  the answer


def peak() -> int:
    """KiB, from the kernel: getrusage of a forked process begins at what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
