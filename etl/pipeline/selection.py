"""The part of a source that a backfill looks at: single projects, or a window of creation. Pure.

A part proves nothing of the rest: what is not looked at is neither changed nor deleted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from etl.errors import ConfigError
from etl.model import Operation
from etl.providers.kit import Json, Page, Request, Stream
from etl.providers.paging import read_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is looked at; all of the source where nothing is said. The window is half-open."""

    projects: tuple[str, ...] = ()
    created_since: datetime | None = None
    created_until: datetime | None = None

    @property
    def windowed(self) -> bool:
        """Whether the time of creation decides."""
        return self.created_since is not None or self.created_until is not None

    def said(self) -> str | None:
        """The part in words; None when it is the whole."""
        words = [f"of {', '.join(self.projects)}"] if self.projects else []
        if self.created_since is not None:
            words.append(f"created since {self.created_since:%Y-%m-%d %H:%M}")
        if self.created_until is not None:
            words.append(f"created before {self.created_until:%Y-%m-%d %H:%M}")
        return f"only records {', '.join(words)} were asked for" if words else None

    def keeps(self, stream: Stream, operation: str, created_at: datetime | None) -> bool:
        """Whether a record that is new, changed or back is brought in step.

        Where a vendor tells no creation time only what is new is: dated records hang on it.
        """
        if not self.windowed:
            return True
        if not stream.has_created_at:
            return operation != Operation.UPDATED
        return (
            created_at is not None
            and (self.created_since is None or created_at >= self.created_since)
            and (self.created_until is None or created_at < self.created_until)
        )

    def covers(self, stream: Stream, options: Any, external_id: str, key: str) -> bool:
        """Whether the absence of a stored record means anything: never, of a window."""
        if self.windowed:
            return False
        if not self.projects or stream.parent is not None:
            return True  # of selected projects the lists below are whole
        if stream.item_request is None or stream.list_item_request is None:
            return False
        asked = {stream.list_item_request(wanted, options).path for wanted in self.projects}
        return stream.item_request(external_id, key).path in asked


WHOLE = Selection()


def narrowed(
    streams: Sequence[Stream],
    selection: Selection,
    *,
    named: Collection[str],
    options: Mapping[str, Any],
) -> tuple[Stream, ...]:
    """The streams as a selection looks at them; ConfigError, with the way out, where none can.

    named: the streams that a person has named. A window leaves out the others whose records have
    no time of creation, unless dated ones hang on them.
    """
    if selection.windowed:
        streams = _dated(streams, named)
    if selection.projects:
        streams = [_selected(stream, selection, options) for stream in streams]
    return tuple(streams)


def _dated(streams: Sequence[Stream], named: Collection[str]) -> list[Stream]:
    dated = [stream for stream in streams if stream.has_created_at]
    undated = sorted(set(named) - {stream.name for stream in dated})
    if undated:
        raise ConfigError(
            f"the provider does not tell when {' and '.join(undated)} were created; leave "
            "--created-since and --created-until out, or name another --stream"
        )
    return [
        one for one in streams if one.has_created_at or one.name in {kept.parent for kept in dated}
    ]


def _selected(stream: Stream, selection: Selection, options: Mapping[str, Any]) -> Stream:
    if stream.parent is not None:
        return stream
    if stream.list_item_request is None:
        raise ConfigError(f"--project: {stream.without_item_request}")
    if not all(selection.projects):
        raise ConfigError("--project: the key of a project is empty")
    return only(stream, selection.projects, options[stream.name])


def only(stream: Stream, keys: Sequence[str], options: Any) -> Stream:
    """The stream that asks for these records one by one, and for nothing else."""
    if stream.list_item_request is None:
        raise TypeError(f"the stream {stream.name} has no route by key")
    requests = [stream.list_item_request(key, options) for key in dict.fromkeys(keys)]
    following = dict(pairwise(requests))

    def read(body: Json, request: Request) -> Page:
        return replace(read_object(body, request), next=following.get(request), total=None)

    return replace(
        stream,
        first_request=lambda _partition, _options: requests[0],
        read_page=read,
        page_of_404=lambda request: Page(items=[], next=following.get(request)),
        is_single_page=True,
        earlier_request=None,
    )


def as_json(selection: Selection) -> dict[str, Json]:
    """The selection as JSON values, as a run keeps it to be gone on with."""
    since, until = selection.created_since, selection.created_until
    return {
        "projects": list(selection.projects),
        "created_since": None if since is None else since.isoformat(),
        "created_until": None if until is None else until.isoformat(),
    }


def from_json(said: Mapping[str, Json]) -> Selection:
    """The selection that was kept."""
    times = {
        name: None if said[name] is None else datetime.fromisoformat(said[name])
        for name in ("created_since", "created_until")
    }
    return Selection(projects=tuple(said["projects"]), **times)
