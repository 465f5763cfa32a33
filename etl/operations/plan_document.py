"""A plan as a file: what runs would change, and where the database stood when they found it.

One JSON document, gzipped where the name ends in `.gz`, with one change per line. It is written and
read line by line, and changes wait in a temporary file, so that many take no more memory than few.
The file holds each record whole and without secrets, so that it can be applied without the network;
its checksum, of all bytes before it, tells whether it was edited.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from io import BufferedReader
from typing import Any, BinaryIO
from weakref import finalize

from pydantic import InstanceOf, TypeAdapter

from etl.errors import ConfigError
from etl.model import Reject, RunReport
from etl.providers.kit import Json
from etl.spool import Spool
from etl.transform.diff import MISSING, FieldChange

FORMAT = "etl plan"
VERSION = 2
MAX_BYTES = 512 * 2**20  # of a plan's JSON
MAX_LINE = 24 * 2**20  # bytes of it: one change of at most 5,000 fields, or one reject

_AT_ONCE = 500
_BYTES_AT_ONCE = 2**20  # of JSON; a change that is larger comes alone
_MAX_FIRST_LINE = 2**16
_REJECTS = b'], "rejects": [\n'
_GZIP = b"\x1f"  # begins no JSON
_REMEDY = "make a new one with `etl plan --out FILE`"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One record that would change.

    version: the one that is stored, 0 of a new record. reason: of a deletion, how it is known.
    raw: the record as it would be, None of a deletion. fields: what differs, as JSON values.
    """

    stream: str
    operation: str
    parent_id: str
    project_key: str
    external_id: str
    key: str
    row_id: int | None = None
    version: int = 0
    content_hash: str | None = None
    reason: str | None = None
    raw: Json = None
    fields: Sequence[Mapping[str, Json]] = ()


_NAMES = tuple(field.name for field in fields(PlannedChange))


class PlannedChanges:
    """The changes of a plan in their order, in a temporary file where they are many.

    counts: operation -> how many. The file is removed when nothing refers to them any more.
    """

    def __init__(self, changes: Iterable[PlannedChange] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._rows = Spool()
        finalize(self, self._rows.close)
        for change in changes:
            self.add(change)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[PlannedChange]:
        for row in self._rows:
            yield PlannedChange(**row)

    def batches(self) -> Iterator[list[PlannedChange]]:
        """The changes, as many at a time as are staged together."""
        for rows in self._rows.batches(_AT_ONCE, _BYTES_AT_ONCE):
            yield [PlannedChange(**row) for row in rows]

    def add(self, change: PlannedChange) -> None:
        """Adds it as the last one."""
        self._rows.add(_row(change))
        self.counts[change.operation] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a source stands in a database: any write of it since makes another one.

    run_id, merged_at, finished_at: the highest of its merges. scopes: stream -> scope.
    noted_at: of the last reject or drift.
    """

    schema: str
    run_id: int | None
    merged_at: datetime | None
    finished_at: datetime | None
    scopes: Mapping[str, str]
    noted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReject:
    """An item that could not be used, and where it belongs."""

    stream: str
    parent_id: str
    reject: Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScope:
    """A new scope of a stream, with the credential it was read with."""

    stream: str
    scope: str
    key: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """What one run of one source would change.

    base_url, options: what the configuration asked for. held: why `etl sync` would not delete.
    left, back: stream -> rows that leave its scope, or are in it again.
    drift: (stream, path, what is new, JSON type).
    """

    source: str
    provider: str
    base_url: str
    options: Mapping[str, Json]
    scope: str
    observed_at: datetime
    standing: Standing
    report: RunReport
    held: Mapping[str, str]
    left: Mapping[str, Sequence[int]]
    back: Mapping[str, Sequence[int]]
    scopes: Sequence[PlannedScope]
    drift: Sequence[tuple[str, str, str, str]]
    changes: InstanceOf[PlannedChanges]
    rejects: Sequence[PlannedReject]


_PLAN: TypeAdapter[SourcePlan] = TypeAdapter(SourcePlan)
_CHANGE: TypeAdapter[PlannedChange] = TypeAdapter(PlannedChange)
_REJECT: TypeAdapter[PlannedReject] = TypeAdapter(PlannedReject)


def fields_as_json(fields: Sequence[FieldChange]) -> list[dict[str, Json]]:
    """Field diffs as JSON values; a side where the field did not exist is not there."""
    return [
        {"path": one.path}
        | {name: value for name in ("old", "new") if (value := getattr(one, name)) is not MISSING}
        for one in fields
    ]


def as_lines(plans: Sequence[SourcePlan], etl_version: str) -> Iterator[bytes]:
    """One JSON document, line by line; the last line holds the checksum of those before it."""
    digest = sha256()
    for line in _lines(plans, etl_version):
        digest.update(line)
        yield line
    yield _last_line(digest.hexdigest())


def _lines(plans: Sequence[SourcePlan], etl_version: str) -> Iterator[bytes]:
    yield _opened({"format": FORMAT, "version": VERSION, "etl_version": etl_version}, "sources")
    for place, plan in enumerate(plans, 1):
        head = _PLAN.dump_python(plan, mode="json", exclude={"changes", "rejects"})
        yield _opened(head, "changes")
        yield from _items(map(_readable, plan.changes), len(plan.changes))
        yield _REJECTS
        rejects = (_REJECT.dump_python(one, mode="json") for one in plan.rejects)
        yield from _items(rejects, len(plan.rejects))
        yield b"]},\n" if place < len(plans) else b"]}\n"


def _items(values: Iterable[Json], count: int) -> Iterator[bytes]:
    for number, value in enumerate(values, 1):
        yield _text(value) + (b",\n" if number < count else b"\n")


def _opened(values: Mapping[str, Json], name: str) -> bytes:
    """An object whose last field is a list, up to the first item of that."""
    return _text({**values, name: []}).removesuffix(b"]}") + b"\n"


def _last_line(digest: str) -> bytes:
    return f'], "checksum": "sha256:{digest}"}}\n'.encode()


def _readable(change: PlannedChange) -> dict[str, Json]:
    """As JSON values, in the order in which a person reads them."""
    sides = ("path", "old", "new")
    fields = [{side: one[side] for side in sides if side in one} for one in change.fields]
    return {**_row(change), "fields": fields}


def _row(change: PlannedChange) -> dict[str, Json]:
    return {name: getattr(change, name) for name in _NAMES}


def _text(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def write_plans(
    file: BinaryIO, plans: Sequence[SourcePlan], etl_version: str, *, packed: bool
) -> None:
    """Writes the content of a plan file; ConfigError where `read_plans` would refuse its size."""
    size = 0
    with ExitStack() as stack:
        write: Callable[[bytes], object] = file.write
        if packed:
            made = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
            write = stack.enter_context(made).write
        for line in as_lines(plans, etl_version):
            size += len(line)
            if size > MAX_BYTES or len(line) > MAX_LINE:
                raise ConfigError(
                    f"the plan is larger than its file may be ({MAX_BYTES:,} bytes); plan fewer "
                    "sources at once, or single streams with --stream"
                )
            write(line)


def read_plans(file: BufferedReader, name: str, etl_version: str) -> list[SourcePlan]:
    """The plans of a file, which is read to its end.

    Raises ConfigError when it is no plan, was edited, is too large, or is of another etl.
    """
    lines = _Lines(gzip.GzipFile(fileobj=file) if file.peek(1)[:1] == _GZIP else file, name)
    try:
        document = _head(lines)
    except _UNREADABLE:
        raise ConfigError(f"{name} is not a plan: it cannot be read as JSON; {_REMEDY}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f"{name} is not a plan; {_REMEDY}")
    if document.get("version") != VERSION or document.get("etl_version") != etl_version:
        made = f"etl {document.get('etl_version')}, format {document.get('version')}"
        here = f"etl {etl_version}, format {VERSION}"
        raise ConfigError(f"{name} was made by {made}; this is {here}: {_REMEDY}")
    try:
        return _plans(lines)
    except _Damaged as error:
        why = str(error)
    except _UNREADABLE:
        why = f"line {lines.number} cannot be read"
    raise ConfigError(f"{name} was edited or damaged: {why}; {_REMEDY}")


class _Damaged(Exception):
    """Why a file is not as it was written."""


_UNREADABLE = (ValueError, RecursionError, EOFError, zlib.error, gzip.BadGzipFile)


class _Lines:
    """The lines of a document while they are read. number: of the last one that was."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, name: str) -> None:
        self.number = 0
        self._file, self._name = file, name
        self._line = b""
        self._size = 0
        self._digest = sha256()

    def next(self, most: int = MAX_LINE) -> bytes:
        """The next line, or as many bytes of it; empty at the end."""
        self._digest.update(self._line)
        self._line = self._file.readline(most)
        self._size += len(self._line)
        self.number += 1
        if self._size > MAX_BYTES:
            raise ConfigError(f"{self._name} is larger than a plan may be ({MAX_BYTES:,} bytes)")
        return self._line

    def items(self) -> Iterator[Json]:
        """The items of a list, up to the line that closes it."""
        while not (line := self.whole()).startswith(b"]"):
            yield json.loads(line.rstrip(b",\n"))

    def opened(self) -> Iterator[dict[str, Any]]:
        """The objects of a list whose last field is open: it holds what is on the lines below."""
        while not (line := self.whole()).startswith(b"]"):
            yield json.loads(line + b"]}")

    def whole(self) -> bytes:
        """The next line; _Damaged where there is none, or it is too long."""
        line = self.next()
        if not line.endswith(b"\n"):
            early = len(line) < MAX_LINE
            raise _Damaged("it ends too early" if early else f"line {self.number} is too long")
        return line

    def end(self) -> None:
        """_Damaged where the last line does not end a file that is as it was written."""
        if self._line != _last_line(self._digest.hexdigest()):
            raise _Damaged("its checksum is not right")
        if self._file.read(1):
            raise _Damaged("more follows behind its end")


def _head(lines: _Lines) -> Json:
    """What the document says before its sources, one of format 1 too."""
    line = lines.next(_MAX_FIRST_LINE).strip()
    if line == b"{":
        few = b"".join(lines.next(_MAX_FIRST_LINE).strip() for _ in range(3))
        return json.loads(b"{" + few.rstrip(b",") + b"}")
    return json.loads(line + b"]}" if line.endswith(b"[") else line)


def _plans(lines: _Lines) -> list[SourcePlan]:
    plans: list[SourcePlan] = []
    for head in lines.opened():
        streams = head.get("options") or {}
        changes = PlannedChanges(_change(item, streams, lines) for item in lines.items())
        rejects = [_REJECT.validate_python(item) for item in lines.items()]
        plans.append(_PLAN.validate_python({**head, "changes": changes, "rejects": rejects}))
    lines.end()
    return plans


def _change(item: Json, streams: Collection[str], lines: _Lines) -> PlannedChange:
    change = _CHANGE.validate_python(item)
    if change.stream not in streams:
        raise _Damaged(f"line {lines.number} is of a stream that was not planned")
    return change
