"""`python -m tests.support.exported URL TABLE FORMAT FILE`: what an export took, as JSON."""

import json
import sys
import time
from pathlib import Path

from etl.db.engine import open_engine, snapshot
from etl.reports import relations
from etl.reports.export import WRITERS
from tests.support.measured import peak


def main(url: str, name: str, form: str, file: str) -> None:
    """Tells rows, bytes, seconds of the processor and by the clock, and the peak of memory."""
    engine = open_engine(url)
    began, worked = time.monotonic(), time.process_time()
    with snapshot(engine) as connection, Path(file).open("wb") as out:
        asked = relations.relation(connection, name)
        rows = relations.batches(connection, asked)
        count = WRITERS[form](out, relations.columns_of(asked.rows), rows)
    found = {
        "rows": count,
        "bytes": Path(file).stat().st_size,
        "seconds": round(time.monotonic() - began, 2),
        "work": round(time.process_time() - worked, 2),
        "peak": peak(),
    }
    print(json.dumps(found))  # noqa: T201  the answer


if __name__ == "__main__":
    main(*sys.argv[1:])
