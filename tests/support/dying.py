"""A process that dies at a commit, played in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from sqlalchemy import Engine, event, text


class Killed(BaseException):
    """The process died."""


@contextmanager
def dying(engine: Engine, commit: int | None) -> Iterator[None]:
    """That commit and all later ones fail with Killed, and leave the lease to a dead process.

    None: all are made.
    """
    commits = count(1)

    def fail(_connection: object) -> None:
        if commit is not None and next(commits) >= commit:
            raise Killed

    event.listen(engine, "commit", fail)
    try:
        yield
    finally:
        event.remove(engine, "commit", fail)
        if commit is not None:
            with engine.begin() as connection:
                connection.execute(text("UPDATE leases SET process_started = 'an earlier one'"))
