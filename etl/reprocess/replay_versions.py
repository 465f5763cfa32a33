"""Stored payloads as today's code takes them: the runs of the past, staged and merged anew."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection

from etl.audit.payloads import hashed_form
from etl.batches import together
from etl.db.large_rows import MAX_TEXT
from etl.json_text import type_at
from etl.load import missing, staging
from etl.load.events import write_events
from etl.load.merge import merge
from etl.load.staging import Batch, RunKey
from etl.model import Reject
from etl.providers.kit import Json, Partition, Provider, Stream
from etl.reprocess.stored_versions import Moment
from etl.spool import Spool
from etl.transform.canonical import identify
from etl.transform.classify import PageChanges, compare

AT_ONCE = 5000  # versions; what is staged is in the scratch database


@dataclass(slots=True, kw_only=True)
class VersionReplay:
    """A source made anew in a database of its own, moment after moment.

    keys: external id of a project -> its key, as of the last moment. ordinal: of the last row that
    was staged.
    """

    connection: Connection
    source: str
    provider: Provider
    keys: dict[str, str] = field(default_factory=dict)
    ordinal: int = 0

    def add(self, moment: Moment) -> None:
        """What a run observed is merged, at its moment."""
        run = RunKey(run_id=moment.run_id, source=self.source, provider=self.provider.name)
        streams = {stream.name: stream for stream in self.provider.streams}
        gone: dict[str, dict[int, str]] = {name: {} for name in streams}
        self.ordinal = 0
        for part in together(moment.versions, attrgetter("size"), most=AT_ONCE, room=MAX_TEXT):
            batch = Batch()
            for name, stream in streams.items():
                versions = [one for one in part if one.stream == name]
                gone[name] |= self._take(stream, versions, batch) if versions else {}
            staging.write(self.connection, run, batch, moment.at)
        for name, reasons in gone.items():
            staging.settle(self.connection, run.run_id, name)
            missing.stage_deletions(self.connection, run.run_id, name, reasons)
        with closing(Spool()) as fields:
            write_events(self.connection, merge(self.connection, run, streams, moment.at, fields))
        staging.clear(self.connection, run.run_id)

    def _take(self, stream: Stream, versions: Sequence[Any], batch: Batch) -> dict[int, str]:
        """Stages what is new in these versions; -> row id -> why it was deleted."""
        items: dict[str, list[tuple[str, Json]]] = defaultdict(list)
        away: dict[tuple[str, str], str] = {}
        wanted: dict[str, list[str]] = defaultdict(list)
        for version in versions:
            item = hashed_form(version.raw, stream, version.content_hash) or version.raw
            identity = identify(item, stream)
            if isinstance(identity, Reject):
                batch.rejects.append((stream.name, version.parent_id, identity))
                continue
            wanted[version.parent_id].append(identity)
            if version.is_deleted:
                away[version.parent_id, identity] = version.reason or ""
            else:
                items[version.parent_id].append((identity, item))
        heads = staging.heads(self.connection, stream.name, self.source, wanted)
        for parent_id, found in items.items():
            partition = Partition(parent_id=parent_id, parent_key=self.keys.get(parent_id, ""))
            self._stage(stream, compare(found, heads, stream, partition), parent_id, batch)
        return {
            head.row_id: away[place]
            for place, head in heads.items()
            if place in away and not head.deleted
        }

    def _stage(self, stream: Stream, outcome: PageChanges, parent_id: str, batch: Batch) -> None:
        rows = batch.staged[stream.name]
        batch.rejects += [(stream.name, parent_id, reject) for reject in outcome.rejects]
        for staged in outcome.staged:
            self.ordinal += 1
            rows.append((self.ordinal, staged))
            if stream.name == "projects":
                self.keys[staged.external_id] = staged.record.key
            for path, kind in staged.record.drift:
                batch.drift[stream.name, path, kind] = type_at(staged.raw, path)
