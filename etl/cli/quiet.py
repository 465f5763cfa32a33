"""`--quiet`: a command prints nothing when all is well, as cron mails whatever is printed."""

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, TextIO

import typer

from etl.errors import OK, TRY_AGAIN, EtlError, NoRoom
from etl.signals import QUIET
from etl.spool import Spool

NOTHING_TO_DO = (OK, TRY_AGAIN)  # the next run goes on by itself; `status --max-age` watches


class _Output:
    """What was printed, in its order, in a temporary file where it is much."""

    def __init__(self, texts: Spool) -> None:
        self._texts = texts
        self._failure: NoRoom | None = None

    def add(self, name: str, text: str) -> None:
        """Keeps a text of that stream; a failure to keep it never changes what the command does."""
        if self._failure is None:
            try:
                self._texts.add([name, text.encode("utf-8", "backslashreplace").decode()])
            except NoRoom as error:
                self._failure = error

    def show(self, streams: Mapping[str, TextIO]) -> None:
        """Prints all of it, or why it cannot be printed."""
        try:
            if self._failure is not None:
                raise self._failure
            for name, text in self._texts:
                streams[name].write(text)
        except NoRoom as error:
            streams["stderr"].write(f"etl: not everything could be printed: {error}\n")


class _Held(io.TextIOBase):
    """A stream whose text waits, in order with that of the other one."""

    encoding = "utf-8"

    def __init__(self, name: str, output: _Output) -> None:
        super().__init__()
        self._name, self._output = name, output

    def writable(self) -> bool:
        """It takes text."""
        return True

    def write(self, text: str) -> int:
        """Keeps the text."""
        self._output.add(self._name, text)
        return len(text)


@contextmanager
def quiet() -> Iterator[None]:
    """What the block prints is shown only if its exit code needs a person; logs always are."""
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    is_well = False
    with closing(Spool()) as texts:
        output = _Output(texts)
        sys.stdout, sys.stderr = _Held("stdout", output), _Held("stderr", output)
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
            if not is_well:
                output.show(streams)


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
