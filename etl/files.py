"""Files that are whole or not there: written beside their place and renamed when they are done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from etl.errors import ConfigError, EtlError


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends well; ConfigError where one has it already.

    With `force` it takes the old one's place in one step. A kill leaves `.NAME.PID.part`.
    """
    place = path.resolve()
    _refuse(path, place, force=force)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        file = part.open("wb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse(path, place, force=force)
        part.replace(place)
    except OSError as error:
        raise EtlError(f"{path} was not written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _refuse(path: Path, place: Path, *, force: bool) -> None:
    if place.exists() and not place.is_file():
        raise ConfigError(f"{path} is no file; name one that can be written")
    if place.exists() and not force:
        raise ConfigError(f"{path} exists; another name, or --force to overwrite it")
