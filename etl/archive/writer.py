"""Writes what one process of a run is answered to the archive of its source.

A page is written before the line that names it, a line in one write, the closing line when all of
it is on the disk: whatever is killed when, all that an index names is there.
"""

import gzip
import io
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from etl.archive.layout import TIME, locked, page_path
from etl.errors import SourceError
from etl.files import FOR_OWNER, open_new, open_own, part_of
from etl.json_text import json_text, parsed_text
from etl.log_fields import fields
from etl.model import RunReport
from etl.providers.kit import Fetch, Json, Request, Response
from etl.providers.wire import redact

log = logging.getLogger(__name__)

FORMAT = 1


@dataclass(slots=True, kw_only=True)
class Recorder:
    """Writes what one process of a run is answered; close() when the run has ended.

    A disk that fails never stops a run: the index then stays without its closing line, and
    `trouble` says why.
    """

    folder: Path
    about: Mapping[str, Json]
    clock: Callable[[], datetime]
    trouble: str | None = None
    _index: io.FileIO | None = field(default=None, init=False, repr=False)
    _fresh: list[Path] = field(default_factory=list, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def watching(self, fetch: Fetch) -> Fetch:
        """The same fetch; what it refuses is written down."""

        def watched(request: Request) -> Response:
            try:
                return fetch(request)
            except SourceError as error:
                refusal = _refusal(request, error)
                self._keep(lambda _folder: self._write(refusal))
                raise

        return watched

    def page(self, stream: str, parent_key: str, request: Request, body: Json) -> None:
        """A redacted body belongs to the archive."""
        data = parsed_text(body)
        name = sha256(data).hexdigest()
        asked = {"stream": stream, "partition": parent_key, "request": _as_json(request)}

        def keep(folder: Path) -> None:
            path, packed = page_path(folder, name), gzip.compress(data, mtime=0)
            if not _holds(path, packed):
                _write_whole(path, packed)
                self._fresh.append(path)
            self._write({**asked, "sha256": name})

        self._keep(keep)

    def close(self, report: RunReport | None) -> None:
        """The closing line, where the run ended, and no more lines."""
        if self._index is None:
            return
        if report is not None and report.run_id is not None:
            end = _end(report)

            def keep(_folder: Path) -> None:
                _to_disk(self._fresh)
                os.fsync(self._write({"end": end}))

            self._keep(keep)
        self._index.close()
        self._index = None

    def _keep(self, write: Callable[[Path], object]) -> None:
        """Writes, with no other thread and no prune meanwhile; not after the disk has failed."""
        with self._lock:
            if self.trouble is not None:
                return
            try:
                with locked(self.folder, alone=False):
                    write(self.folder)
            except OSError as error:
                self.trouble = f"not archived in {self.folder}: {error.strerror or error}"
                log.warning("%s", self.trouble, extra=fields("not archived", reason=self.trouble))

    def _write(self, line: Mapping[str, Json]) -> int:
        """Writes a line; -> the number of the open file."""
        now = self.clock()
        if self._index is None:
            self._index = _new_index(self.folder / "runs", now)
            _append(self._index, {"archive": FORMAT, "begun": now.isoformat(), **self.about})
        _append(self._index, {"at": now.isoformat(), **line})
        return self._index.fileno()


def _refusal(request: Request, error: SourceError) -> Mapping[str, Json]:
    return {
        "request": _as_json(request),
        "error": type(error).__name__,
        "status": error.status,
        "message": redact(str(error)),
    }


def _end(report: RunReport) -> Mapping[str, Json]:
    """How the run ended, and which streams were walked completely."""
    return {
        "run": report.run_id,
        "status": report.status,
        "attempts": report.attempts,
        "observed_at": report.finished_at.isoformat(),
        "identity": report.identity,
        "complete": {stream.stream: stream.complete for stream in report.streams},
    }


def _as_json(request: Request) -> Json:
    """A request as it stands in an index."""
    return [request.path, None if request.params is None else [list(p) for p in request.params]]


def _holds(path: Path, packed: bytes) -> bool:
    """Whether the page is there and whole: one from before a power cut may not be."""
    try:
        return path.read_bytes() == packed
    except FileNotFoundError:
        return False


def _write_whole(path: Path, packed: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = part_of(path)
    with open_new(part, mode=FOR_OWNER) as file:
        file.write(packed)
    part.replace(path)


def _to_disk(paths: Iterable[Path]) -> None:
    """Files and the folders they are in survive a power cut."""
    folders = set()
    for path in paths:
        folders.add(path.parent)
        _sync(path)
    for folder in folders | {inner.parent for inner in folders}:
        _sync(folder)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _new_index(folder: Path, now: datetime) -> io.FileIO:
    """An index of that moment, which no other process writes to."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name, number = now.astimezone(UTC).strftime(TIME), 1
    while True:
        more = f"_{number}" if number > 1 else ""
        try:
            return io.FileIO(folder / f"{name}{more}.jsonl", "xb", opener=open_own)
        except FileExistsError:
            number += 1


def _append(index: io.FileIO, value: Mapping[str, Json]) -> None:
    line = json_text(value).encode() + b"\n"
    if index.write(line) != len(line):
        raise OSError("the disk is full")
