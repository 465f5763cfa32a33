"""The archive of a source: the redacted answers of its runs, each page stored once, an index a run.

    SOURCE/pages/3f/3f0c….json.gz                 a page by the sha256 of its JSON
    SOURCE/runs/20261101T060000.000000Z.jsonl     what one process of a run was answered, in order

Layout, reading and retention; etl.archive.writer writes. docs/archive.md tells the format to users.
"""

import fcntl
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from etl.files import open_own
from etl.json_text import unpacked

TIME = "%Y%m%dT%H%M%S.%fZ"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHA = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_DAY = timedelta(days=1)
_MIB = 2**20
MAX_PAGE_BYTES = 256 * _MIB
MAX_LINE_BYTES = 16 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRetention:
    """How long and how large; None: without a limit."""

    days: float | None = None
    megabytes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedDumps:
    """What was, or would be, taken away: run indexes, pages, bytes on the disk."""

    runs: int = 0
    pages: int = 0
    size: int = 0


def page_path(folder: Path, name: str) -> Path:
    """Where the page of that sha256 is."""
    return folder / "pages" / name[:2] / f"{name}.json.gz"


def page(folder: Path, name: Any) -> bytes:
    """The JSON of a stored page; OSError or ValueError when it is not there or not whole."""
    if not isinstance(name, str) or not _DIGEST.fullmatch(name):
        raise ValueError("a page is not named by its sha256")
    try:
        data = unpacked(page_path(folder, name).read_bytes(), most=MAX_PAGE_BYTES)
    except ValueError as error:
        raise ValueError(f"page {name} {error}") from error
    if sha256(data).hexdigest() != name:
        raise ValueError(f"page {name} holds something else")
    return data


def lines(index: Path) -> Iterator[bytes]:
    """The lines of an index; one that was not written to its end is none."""
    with index.open("rb") as file:
        every = iter(lambda: file.readline(MAX_LINE_BYTES), b"")
        yield from (line for line in every if line.endswith(b"\n"))


def indexes(folder: Path) -> list[Path]:
    """The indexes of a source, oldest first."""
    return sorted((folder / "runs").glob("*.jsonl"))


def prune(
    folder: Path, retention: ArchiveRetention, *, now: datetime, dry_run: bool = False
) -> PrunedDumps:
    """Takes away the oldest runs beyond the retention, then the pages that no run names any more.

    By size the newest run stays whatever it takes. folder: of one source.
    """
    if not folder.is_dir():
        return PrunedDumps()
    with locked(folder, alone=True):
        every = indexes(folder)
        kept, named = _kept(folder, every, retention, now)
        gone = every[: len(every) - kept]
        pages = [path for path in _files(folder / "pages") if not _named(path, named)]
        size = sum(path.stat().st_size for path in (*gone, *pages))
        if not dry_run:
            for path in (*gone, *pages):  # indexes first: a kill leaves pages without a name only
                path.unlink()
        return PrunedDumps(runs=len(gone), pages=len(pages), size=size)


def prune_daily(folder: Path, retention: ArchiveRetention, *, now: datetime) -> PrunedDumps:
    """The same, once a day: every index is read for it."""
    stamp = folder / "pruned"
    if retention == ArchiveRetention() or not folder.is_dir():
        return PrunedDumps()
    try:
        if now - datetime.fromisoformat(stamp.read_text()) < _DAY:
            return PrunedDumps()
    except (OSError, ValueError):
        pass
    found = prune(folder, retention, now=now)
    with open(stamp, "w", encoding="ascii", opener=open_own) as file:
        file.write(now.isoformat())
    return found


def _kept(
    folder: Path, every: list[Path], retention: ArchiveRetention, now: datetime
) -> tuple[int, set[str]]:
    """How many of the newest runs stay, and the pages they name."""
    named: set[str] = set()
    size = kept = 0
    for index in reversed(every):
        new = {found.decode() for found in _SHA.findall(index.read_bytes())} - named
        size += index.stat().st_size + _size(page_path(folder, name) for name in new)
        old = retention.days is not None and begun_at(index) < now - retention.days * _DAY
        large = retention.megabytes is not None and size > retention.megabytes * _MIB
        if old or (large and kept):
            break
        named |= new
        kept += 1
    return kept, named


def begun_at(index: Path) -> datetime:
    """When that part of a run began, by the name of its index."""
    return datetime.strptime(index.stem.partition("_")[0], TIME).replace(tzinfo=UTC)


def _named(path: Path, named: Collection[str]) -> bool:
    return path.suffix == ".gz" and path.name.partition(".")[0] in named


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*/*") if path.is_file())


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[None]:
    """Nothing is taken away while something is written, and the other way round."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "ab", opener=open_own) as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
