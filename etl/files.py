"""Files that are whole or not there: written beside their place and renamed when they are done."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from etl.errors import ConfigError, EtlError

FOR_ALL = 0o666  # less the umask
FOR_OWNER = 0o600
_CHUNK = 2**20


def content(path: Path, *, most: int) -> bytes:
    """What is in a file; ValueError where it is more than that many bytes, as of /dev/zero."""
    chunks: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            chunks.append(chunk)
            most -= len(chunk)
            if most < 0:
                raise ValueError(f"{path} is too large")
    return b"".join(chunks)


def text_in(path: Path, *, most: int) -> str:
    """The same as text of UTF-8, without a byte order mark, each line ended by a newline."""
    text = content(path, most=most).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def whole_file(path: Path, *, force: bool = False, mode: int = FOR_ALL) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends well; ConfigError where one has it already.

    With `force` it takes the old one's place in one step. A kill leaves `.NAME.….part`.
    """
    place = path.resolve()
    _refuse(path, place, force=force)
    part = part_of(place)
    try:
        file = open_new(part, mode=mode)
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


def raise_if_unwritable(path: Path) -> None:
    """ConfigError where `whole_file` could not make it: to be known before the work for it."""
    if str(path) == "-":
        raise ConfigError("- is no file; name one that can be written")
    folder = path.resolve().parent
    if not os.access(folder, os.W_OK):
        why = errno.EACCES if folder.is_dir() else errno.ENOENT
        raise ConfigError(f"{path} cannot be written: {os.strerror(why)}")
    _refuse(path, path.resolve(), force=True)


def part_of(place: Path) -> Path:
    """A name beside the place that nobody can foresee."""
    return place.with_name(f".{place.name[:100]}.{secrets.token_hex(8)}.part")


def open_new(path: Path, *, mode: int) -> BinaryIO:
    """A file that was not there, for writing; FileExistsError where there is one, or a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, mode), "wb")


def open_own(path: str, flags: int) -> int:
    """An opener for files of one's own: not through links, and for nobody else."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FOR_OWNER)


def _refuse(path: Path, place: Path, *, force: bool) -> None:
    if place.exists() and not place.is_file():
        raise ConfigError(f"{path} is no file; name one that can be written")
    if place.exists() and not force:
        raise ConfigError(f"{path} exists; another name, or --force to overwrite it")
