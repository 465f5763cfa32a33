"""`--quiet`: a command prints nothing when all is well, as cron mails whatever is printed."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from etl.errors import OK, TRY_AGAIN, EtlError
from etl.signals import QUIET

NOTHING_TO_DO = (OK, TRY_AGAIN)  # the next run goes on by itself; `status --max-age` watches


class _Held(io.TextIOBase):
    """A stream whose text waits, in order with that of the other one."""

    encoding = "utf-8"

    def __init__(self, name: str, held: list[tuple[str, str]]) -> None:
        super().__init__()
        self._name, self._held = name, held

    def writable(self) -> bool:
        """It takes text."""
        return True

    def write(self, text: str) -> int:
        """Keeps the text."""
        self._held.append((self._name, text))
        return len(text)


@contextmanager
def quiet() -> Iterator[None]:
    """What the block prints is shown only if its exit code needs a person; logs always are."""
    held: list[tuple[str, str]] = []
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    sys.stdout, sys.stderr = _Held("stdout", held), _Held("stderr", held)
    is_well = False
    try:
        yield
        is_well = True
    except typer.Exit as end:
        is_well = end.exit_code in NOTHING_TO_DO
        raise
    except EtlError as error:
        is_well = error.exit_code in NOTHING_TO_DO
        if is_well:
            raise typer.Exit(error.exit_code) from None
        raise
    finally:
        sys.stdout, sys.stderr = streams["stdout"], streams["stderr"]
        for name, text in () if is_well else held:
            streams[name].write(text)


def _begin(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.with_resource(quiet())


Quiet = Annotated[
    bool,
    typer.Option(
        *QUIET,
        callback=_begin,
        help="Print nothing unless something is wrong (exit code other than 0 and 75).",
    ),
]
