"""stdout and stderr of a command: a failure to print never changes what the command did.

A full disk, a reader that has gone (`| head`) or a closed descriptor drop what is printed; the exit
code stays that of the run. Only where the output is the work itself, as in `etl export`, is a
failure an error. What goes to stderr, tracebacks and messages of libraries too, holds no secret.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from etl.errors import EtlError
from etl.redaction import redact

NAMES = ("stdout", "stderr")


class Tolerant(io.RawIOBase):
    """A descriptor whose failures are noted, and raised only where `strict` is set."""

    def __init__(self, descriptor: int, *, redacted: bool) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._redacted = redacted
        self.failure: OSError | None = None
        self.told = False  # whether somebody was told of the failure
        self.strict = False

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        """Everything is taken, whether it could be written or not."""
        whole = bytes(data)
        rest = self._shown(whole)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self.failure = self.failure or error
            if self.strict:
                raise
        return len(whole)

    def _shown(self, data: bytes) -> bytes:
        if not self._redacted:
            return data
        text = data.decode("utf-8", "surrogateescape")
        return redact(text).encode("utf-8", "surrogateescape")


def install() -> None:
    """Puts tolerant streams in the place of those of the process, and opens what was closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # or the next file that is opened, a database, would be written to
            os.open(os.devnull, os.O_RDWR)
    for name in NAMES:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _tolerant(stream, redacted=name == "stderr"))


def _tolerant(stream: io.TextIOWrapper, *, redacted: bool) -> io.TextIOWrapper:
    """The stream as it is, where it is no file; what it cannot show is escaped, not an error."""
    try:
        descriptor = stream.fileno()
    except OSError:
        stream.reconfigure(errors="backslashreplace")
        return stream
    if isinstance(stream.buffer, io.BufferedWriter) and isinstance(stream.buffer.raw, Tolerant):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Tolerant(descriptor, redacted=redacted)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or redacted,
    )


def lost() -> Iterator[str]:
    """What could not be written, and why; a reader that has gone wanted no more."""
    for name in NAMES:
        raw = _raw(getattr(sys, name))
        if raw is not None:
            getattr(sys, name).flush()
            if raw.failure is not None and not raw.told and raw.failure.errno != errno.EPIPE:
                yield f"{name}: {raw.failure.strerror}: not everything could be printed"


@contextmanager
def data() -> Iterator[BinaryIO]:
    """stdout for rows: a failure is an EtlError, a reader that has gone ends the block."""
    sys.stdout.flush()
    raw = _raw(sys.stdout)
    if raw is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    raw.strict = True
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        if error is not raw.failure:
            raise
        if error.errno != errno.EPIPE:
            raw.told = True
            raise EtlError(f"stdout was not written: {error.strerror}") from error
    finally:
        raw.strict = False


def _raw(stream: Any) -> Tolerant | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Tolerant) else None
