"""Dumps: what a provider answered at one time, from an archive or from plain files. Reads only.

A dump opened is a Fetch that knows no network, and a clock that stands where its answers stood.
docs/archive.md tells both forms to users.
"""

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from etl.archive import layout
from etl.errors import (
    AccessDenied,
    ConfigError,
    NotRecorded,
    ProtocolError,
    RequestRejected,
    SourceError,
    StoreError,
    TransientError,
)
from etl.json_text import path_step
from etl.model import COMMITTED, RunKind
from etl.providers.kit import Json, Page, Partition, Provider, Request, Response, Stream, fans_out

_TIME = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T_ -]?(\d\d)[:-]?(\d\d)(?:[:-]?(\d\d)(?:\.(\d{1,6}))?)?)?Z?"
)
_REFUSALS: Mapping[str, type[SourceError]] = {
    kind.__name__: kind for kind in (AccessDenied, RequestRejected, ProtocolError)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswers:
    """An opened dump: its fetch, and the moment of the last answer it gave."""

    fetch: Callable[[Request], Response]
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """One dump. at: the moment its changes take effect; about: the head and end of its index.

    streams: what it holds, read as `reads` says.
    """

    name: str
    at: datetime
    streams: tuple[str, ...]
    open: Callable[[], RecordedAnswers]
    reads: Callable[[Stream], Stream] = lambda stream: stream
    about: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDumps:
    """The dumps of a folder in the order of time, and what cannot be taken for one, and why."""

    dumps: Sequence[Dump]
    left_out: Sequence[str]


def found_in(folder: Path, source: str, provider: Provider) -> FoundDumps:
    """The dumps of one source; ConfigError when the folder holds none.

    folder: an archive, the part of one source in it, or folders of plain pages named by their time.
    """
    dumps: list[Dump] = []
    left_out: list[str] = []
    part = folder / source if (folder / source / "runs").is_dir() else folder
    if (part / "runs").is_dir():
        made = ((path.name, _of_run(part, path, provider)) for path in layout.indexes(part))
    else:
        made = ((path.name, _of_files(path, provider)) for path in _folders(folder))
    for name, dump in made:
        if isinstance(dump, str):
            left_out.append(f"{name}: {dump}")
        else:
            dumps.append(dump)
    if not dumps and not left_out:
        raise ConfigError(
            f"{folder} holds no dump of {source}: neither an archive (runs/*.jsonl) nor folders "
            "named by their time, such as 2026-11-01T0600Z"
        )
    return FoundDumps(dumps=sorted(dumps, key=lambda dump: dump.at), left_out=left_out)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _of_run(folder: Path, index: Path, provider: Provider) -> Dump | str:
    """What a run of an archive was answered, or why it cannot be loaded."""
    try:
        head, end = _ends(index)
    except (ValueError, StopIteration):
        return "damaged"
    said = end.get("end", {})
    reasons = (
        (
            head.get("kind") != RunKind.SYNC,
            f"a {head.get('kind')}, which may have looked at a part only",
        ),
        (head.get("provider") != provider.name, f"of the provider {head.get('provider')}"),
        (not said, "the process ended before the run did; a later run holds what it saw"),
        (said.get("status") not in COMMITTED, f"the run was {said.get('status')}: nothing landed"),
        (
            said.get("attempts", 1) > 1,
            "the run took several processes, and may have missed what moved between them",
        ),
    )
    for holds, reason in reasons:
        if holds:
            return reason
    return Dump(
        name=index.name,
        at=datetime.fromisoformat(said["observed_at"]),
        streams=tuple(head["streams"]),
        open=lambda: _replayed(folder, index),
        about={**head, **said},
    )


def _ends(index: Path) -> tuple[Json, Json]:
    """The first and the last line."""
    every = layout.lines(index)
    first = json.loads(next(every))
    last = deque(every, maxlen=1)
    return first, json.loads(last[0]) if last else {}


def _replayed(folder: Path, index: Path) -> RecordedAnswers:
    """The answers of a run, to each request in the order they were given.

    A list that is asked for once more than it was, as a database may know less than it did then,
    is answered as the last time, when that run found it complete.
    """
    try:
        head, *told = [json.loads(line) for line in layout.lines(index)]
    except ValueError as error:
        raise StoreError(f"the index {index} is damaged: {error}") from error
    complete = told[-1]["end"]["complete"]
    answers: dict[Request, deque[Json]] = defaultdict(deque)
    for line in told[:-1]:
        answers[_request(line["request"])].append(line)
    seen = [datetime.fromisoformat(head["begun"])]

    def fetch(request: Request) -> Response:
        waiting = answers.get(request)
        if not waiting:
            raise NotRecorded(f"the archive has no answer to {request.path}")
        line = waiting[0]
        if len(waiting) > 1 or not complete.get(line.get("stream"), "error" in line):
            waiting.popleft()
        seen[0] = max(seen[0], datetime.fromisoformat(line["at"]))
        return _answer(folder, line)

    return RecordedAnswers(fetch=fetch, clock=lambda: seen[0])


def _request(said: Json) -> Request:
    path, params = said
    return Request(path, None if params is None else tuple((name, text) for name, text in params))


def _answer(folder: Path, line: Json) -> Response:
    if "error" in line:
        kind = _REFUSALS.get(line["error"], TransientError)
        raise kind(line["message"], status=line["status"])
    try:
        body = layout.page(folder, line.get("sha256"))
    except (OSError, ValueError) as error:
        raise ProtocolError(f"the archive is damaged: {error}") from error
    return Response(status=200, headers={}, body=body, url="")


def _of_files(folder: Path, provider: Provider) -> Dump | str:
    """Plain pages in a folder named by their time, or why it is no dump."""
    at = _time(folder.name)
    if at is None:
        return "its name is no time such as 2026-11-01T0600Z"
    streams = [stream.name for stream in provider.streams if _files(folder, stream.name, None)]
    if not streams:
        named = ", ".join(f"{stream.name}.json" for stream in provider.streams)
        return f"it holds none of {named}"
    inside = [
        one.name for one in provider.streams if one.extra_requests or one.name == "environments"
    ]
    return Dump(
        name=folder.name,
        at=at,
        streams=tuple(one.name for one in provider.streams if one.name in {*streams, *inside}),
        open=lambda: RecordedAnswers(
            fetch=lambda request: _read(folder, request), clock=lambda: at
        ),
        reads=lambda stream: _filed(folder, stream, fanned=fans_out(provider, stream)),
    )


def _time(name: str) -> datetime | None:
    found = _TIME.fullmatch(name)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction = found.groups(default="0")
    text = f"{year}-{month}-{day}T{hour:>02}:{minute:>02}:{second:>02}.{fraction:0<6}+00:00"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _filed(folder: Path, stream: Stream, *, fanned: bool) -> Stream:
    """The stream, read from files: the pages of a list, which are of one moment, as one page.

    fanned: it has a list a project.
    """

    def first(partition: Partition, _options: Json) -> Request:
        return Request(stream.name, (("of", partition.parent_key if fanned else ""),))

    def read(body: Json, request: Request) -> Page:
        pages = [stream.read_page(page, request) for page in body["pages"]]
        files = _files(folder, stream.name, dict(request.params or ())["of"])
        for file, page in zip(files[:-1], pages, strict=False):
            if page.next is None:
                raise ProtocolError(f"{file} is the last page by its own word, not the last file")
        if pages[-1].next is not None:
            raise ProtocolError(f"{files[-1]} is the last file, not the last page by its own word")
        return Page(
            items=[i for page in pages for i in page.items], next=None, total=pages[-1].total
        )

    gather = tuple(
        Request(stream.name, (("of", ""), ("page", str(number))))
        for number, _ in enumerate(stream.extra_requests)
    )
    return replace(
        stream,
        first_request=first,
        read_page=read,
        echo=lambda _body, _request: None,  # files are asked for by their names
        extra_requests=gather,
        is_single_page=True,
        earlier_request=None,
        item_request=None,
    )


def _read(folder: Path, request: Request) -> Response:
    """The files of a list as one body, or the one of a single answer."""
    asked = dict(request.params or ())
    files = _files(folder, request.path, asked.get("of", ""))
    if "page" in asked:
        files = files[int(asked["page"]) :][:1]
    if not files or not asked:
        what = f"{request.path} {asked.get('of', '')}".strip()
        raise RequestRejected(f"the dump {folder.name} has no file for {what}", status=404)
    try:
        bodies = [file.read_text(encoding="utf-8-sig") for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{files[0].parent} cannot be read: {error}") from error
    body = bodies[0] if "page" in asked else f'{{"pages":[{",".join(bodies)}]}}'
    return Response(status=200, headers={}, body=body.encode(), url="")


def _files(folder: Path, stream: str, parent_key: str | None) -> list[Path]:
    """The pages of a list in their order: of a stream, of a project's part; None: of any part."""
    whole = folder / stream
    if parent_key is None:
        return [*_listed(whole), *whole.glob("*/*.json")]
    return _listed(whole / path_step(parent_key) if parent_key else whole)


def _listed(path: Path) -> list[Path]:
    """PATH.json, or the files of the folder PATH, by the numbers in their names."""
    single = path.with_name(f"{path.name}.json")
    return [single] if single.is_file() else sorted(path.glob("*.json"), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", path.stem)]
