"""`python -m tests.support.child CONFIG SOURCE [COMMIT]`: one run, in a process that may be killed.

With COMMIT it kills itself, for real, when it is about to make its n-th commit.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from sqlalchemy import event

from etl import app
from etl.config import load
from etl.db.engine import open_engine


def main(path: str, source: str, fatal_commit: int) -> int:
    """The exit code of the run."""
    settings = load(Path(path), only=[source])
    engine = open_engine(settings.database_url)
    commits = count(1)

    def maybe_die(_connection: object) -> None:
        if next(commits) == fatal_commit:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "commit", maybe_die)
    return app.sync(engine, settings, source, app.Wish()).exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
