"""Which record a key belongs to: keys move between records while a run reads.

The parts of a project are asked for by its key and stored under its id. When all of them are read,
the keys are looked up once more; a list whose project has lost its key is no evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from etl.errors import (
    AccessDenied,
    NotRecorded,
    ProtocolError,
    RateLimited,
    RequestRejected,
    SourceError,
)
from etl.extract.pages import PageReader, body_for, pages
from etl.providers.kit import Partition, Request, Response, Stream
from etl.transform.canonical import identify


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of a list, by id; error: why the list could not be read to its end.

    whole: nothing can be missing, as far as the list tells.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    error: SourceError | None = None

    def may_hold(self, external_id: str) -> bool:
        """Whether the record is in the list, or may be in a part that was not read."""
        return external_id in self.keys or not self.whole


def listed_keys(reader: PageReader, stream: Stream, options: Mapping[str, Any]) -> Keys:
    """The ids and keys of a list, without its filter; read on connections of its own.

    Raises what ends or parks a run: TransientError, and AccessDenied for a 401.
    """
    said = options[stream.name]
    wide = said.model_copy(update={**dict.fromkeys(stream.filter_options), **stream.bare_options})
    return _read(reader, stream, wide)


def _read(reader: PageReader, stream: Stream, options: Any) -> Keys:
    keys: dict[str, str] = {}
    total, gaps = None, False
    overlapping = stream.earlier_request is not None and stream.has_stable_order(options)
    start = stream.first_request(Partition(), options)
    try:
        for page in pages(_alone(reader), stream, start, overlapping=overlapping):
            total, gaps = page.total, gaps or page.gap
            for item in page.items:
                found = identify(item, stream)
                if isinstance(found, str):
                    keys[found] = str(item.get("key", ""))
    except SourceError as error:
        if not _lets_go_on(error):
            raise
        return Keys(keys=keys, error=error)
    return Keys(keys=keys, whole=not gaps and total in (None, len(keys)))


def moved_keys(
    reader: PageReader,
    stream: Stream,
    options: Mapping[str, Any],
    asked: Mapping[str, str],
    pages: int,
) -> dict[str, str]:
    """Of the records that were asked for by key (id -> key): id -> why the key may not be its own.

    pages: of their list. It is read again, unless fewer requests ask for the records themselves.
    """
    keys: Mapping[str, str] = {}
    if len(asked) > pages:
        said = options[stream.name]
        found = _read(reader, stream, said.model_copy(update=stream.bare_options))
        if isinstance(found.error, NotRecorded):
            return {}  # the archive is of a version that did not ask
        if found.error is not None:
            why = f"whether the key is still its own could not be asked: {found.error}"
            return dict.fromkeys(asked, why)
        keys = found.keys
    moved = {
        external_id: _moved(reader, stream, external_id, key)
        for external_id, key in asked.items()
        if keys.get(external_id) != key
    }
    return {external_id: why for external_id, why in moved.items() if why is not None}


def _moved(reader: PageReader, stream: Stream, external_id: str, key: str) -> str | None:
    """Why the key may not be that record's; None where it answers under it."""
    if stream.item_request is None:
        return f"the key {key} is not its own any more"
    request = replace(stream.item_request(external_id, key), alone=True)
    try:
        if identify(body_for(reader, stream, request), stream) == external_id:
            return None
    except NotRecorded:
        return None
    except SourceError as error:
        if not _lets_go_on(error):
            raise
        if error.status != 404:
            return f"whether the key is still its own could not be asked: {error}"
    return f"the key {key} moved to another project, or is gone, while it was read"


def _lets_go_on(error: SourceError) -> bool:
    """Whether the run can land without what was asked."""
    if isinstance(error, RateLimited) or error.status == 401:
        return False
    return isinstance(error, AccessDenied | RequestRejected | ProtocolError)


def _alone(reader: PageReader) -> PageReader:
    def fetch(request: Request) -> Response:
        return reader.fetch(replace(request, alone=True))

    return replace(reader, fetch=fetch, recall=None, parent_key="")
