"""A list in a temporary file: values that are written later, without their memory."""

import errno
import json
from collections.abc import Iterator
from contextlib import suppress
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any

from etl.batches import together
from etl.errors import NoRoom
from etl.json_text import parsed_text

IN_MEMORY = 2**20  # bytes; with more the file is in TMPDIR, without a name, for its process only


class Spool:
    """JSON values in the order in which they were added; may be read more than once.

    Raises NoRoom where the file cannot be written.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  see close
        self._count = 0

    def close(self) -> None:
        """Removes the file; what was not written is not needed any more."""
        with suppress(OSError):
            self._file.close()

    def __len__(self) -> int:
        return self._count

    def add(self, value: Any) -> None:
        """Adds a value at the end."""
        self._write(parsed_text(value))
        self._write(b"\n")
        self._count += 1

    def __iter__(self) -> Iterator[Any]:
        """The values from the first on. Nothing may be added before the last one is read."""
        self._rewind()
        return map(json.loads, self._file)

    def batches(self, count: int, size: int) -> Iterator[list[Any]]:
        """The same, at most so many at a time, of at most so many bytes; a larger one alone."""
        self._rewind()
        for lines in together(self._file, len, most=count, room=size):
            yield [json.loads(line) for line in lines]

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise _no_room(error) from error

    def _rewind(self) -> None:
        try:
            self._file.seek(0)  # writes what is still in its buffer
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> NoRoom:
    remedy = "free some space there, or set TMPDIR to another folder"
    if error.errno == errno.EFBIG:
        remedy = "raise the limit of file sizes (`ulimit -f`)"
    try:
        where = f"the temporary folder {gettempdir()} cannot be written"
    except FileNotFoundError as none:  # names all that it tried
        return NoRoom(f"{none.strerror}; set TMPDIR to a folder that can be written")
    return NoRoom(f"{where}: {error.strerror or error}; {remedy}")
