"""Stages pages: compares items with stored rows, stages what is new, writes checkpoints.

Rows and the walk's state are written in one transaction. Pages that come fast share a checkpoint;
a slow page gets its own, so that little is fetched again after a kill.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from etl.db.engine import in_transaction, reading, relaxed
from etl.extract.list_content import ListContent
from etl.extract.list_walk import (
    MAX_REJECTS,
    ListWalk,
    again,
    as_json,
    begin,
    from_json,
    give_up,
    note_ids,
)
from etl.extract.page_cache import PageCache
from etl.json_text import parsed_text, type_at
from etl.load import missing as absent
from etl.load import resume as overtaken
from etl.load import staging
from etl.load.row_set import RowSet
from etl.load.staging import Batch, RunKey
from etl.model import Operation, Reject, StreamStatus
from etl.providers.kit import Json, Page, Stream, whole
from etl.signals import hear
from etl.transform.classify import (
    MAX_ITEM,
    Before,
    Head,
    PageChanges,
    StagedRecord,
    compare,
    named_items,
)

CHECKPOINT_SECONDS = 0.2
CHECKPOINT_ROWS = 2000
SLICE = 1000  # items of a page that are compared at once
MAX_REJECTS_OF_RUN = 10_000  # that are kept
MAX_PAYLOADS = 16 * 2**20  # bytes of memory of the rejects' payloads that a run keeps
VALUE_BYTES = 64  # of memory that a value takes beside its text
WIDE = 4  # bytes of memory of each letter of a text that holds letters beyond U+FFFF
MAX_WAITING = 4 * 2**20  # bytes of records that wait for a checkpoint
MAX_DRIFT = 2000  # findings that wait for a checkpoint
READ_AHEAD = 20  # partitions read together; one by one, asking takes as long as reading
MAX_LIST_AGE = 600.0  # seconds; a list that was read before is read again by a run that goes on
MAX_PROCESSES = 4  # of a run; later ones keep what is read, or it might never come to its end
CLOCK_DIFFERENCE = 120.0  # seconds by which the clocks of a vendor's machines may differ
CLOCK_STEP = 60.0  # seconds by which a clock went back that was not only corrected a little

Found = tuple[ListWalk, Sequence[Json]]
Identified = tuple[ListWalk, list[tuple[str, Json]]]
Heads = Mapping[tuple[str, str], Head]


@dataclass(slots=True, kw_only=True)
class Stager:
    """What one run has met and staged so far; close() when done.

    keeps_findings: rejects and drift are written, as they are not by a dry run.
    walks: stream -> parent id -> its walk. seen: stream -> stored live rows that were met.
    outside: stream -> rows that left its scope in earlier runs.
    unwritten: the findings that were not written.
    every_page: each page is a checkpoint. keeps: whether what is news is wanted at all.
    stale: stream -> its lists (by parent id) that were read before another run landed; newer:
    stream -> live rows of these lists that it wrote.
    """

    engine: Engine
    run: RunKey
    streams: Mapping[str, Stream]
    clock: Callable[[], datetime]
    beat: Callable[[Connection, datetime], None]
    keeps_findings: bool = True
    every_page: bool = False
    keeps: Callable[[Stream, StagedRecord], bool] = lambda _stream, _staged: True
    tick: Callable[[], float] = time.monotonic
    walks: dict[str, dict[str, ListWalk]] = field(default_factory=lambda: defaultdict(dict))
    seen: dict[str, RowSet] = field(default_factory=lambda: defaultdict(RowSet))
    outside: dict[str, frozenset[int]] = field(default_factory=dict)
    unwritten: Batch = field(default_factory=Batch)
    stale: dict[str, frozenset[str]] = field(default_factory=dict)
    newer: dict[str, frozenset[int]] = field(default_factory=dict)
    _batch: Batch = field(default_factory=Batch, init=False)
    _met: dict[tuple[str, str], list[int]] = field(default_factory=dict, init=False)
    _listed: dict[str, ListContent] = field(
        default_factory=lambda: defaultdict(ListContent), init=False
    )
    _readings: dict[tuple[str, str, int], int] = field(default_factory=dict, init=False)
    _recall: dict[tuple[str, str], PageCache] = field(default_factory=dict, init=False)
    _stores: dict[str, bool] = field(default_factory=dict, init=False)
    _coming: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(dict), init=False
    )
    _ahead: dict[str, dict[str, Heads]] = field(
        default_factory=lambda: defaultdict(dict), init=False
    )
    _live: dict[str, int] = field(default_factory=dict, init=False)
    _renewed: set[str] = field(default_factory=set, init=False)
    _ticks: dict[tuple[str, str], float] = field(default_factory=dict, init=False)
    _began: tuple[float, float] = field(init=False)
    _ordinal: int = field(default=0, init=False)
    _rejects: int = field(default=0, init=False)
    _payloads: int = field(default=0, init=False)
    _waiting: int = field(default=0, init=False)
    _due: float = field(default=0.0, init=False)
    _held: Connection = field(init=False)

    def __post_init__(self) -> None:
        self._held = reading(self.engine)
        self._due = self.tick() + CHECKPOINT_SECONDS
        self._began = self._seconds(), self.tick()

    def close(self) -> None:
        """Gives the connection back; what was not flushed is forgotten."""
        self._held.close()

    @property
    def _reading(self) -> Connection:
        """A connection to read by; since the last page the one before may have been closed."""
        if self.engine.dialect.name == "postgresql":
            self._held.close()
            self._held = reading(self.engine)  # the pool proves it
        return self._held

    def resume(self, since: datetime, *, attempt: int) -> None:
        """Takes up what earlier processes of this run, which began at `since`, have stored.

        Lists that were read too long ago are forgotten, so that they are read again.
        """
        self._ordinal = staging.last_ordinal(self._reading, self.run.run_id)
        landed = overtaken.landed_since(self._reading, self.run, since)
        self._forget_old_lists(landed=landed.any, attempt=attempt)
        for name in self.streams:
            states, self.seen[name] = staging.read_ledger(self._reading, self.run.run_id, name)
            for walk in map(from_json, states):
                walk.resumed = walk.resumed or not walk.ended
                current = self.walk(name, again(walk) if walk.status != StreamStatus.OK else walk)
                self._meet(name, current, current.last)
        if landed.any:
            self._give_way(landed)

    def _forget_old_lists(self, *, landed: bool, attempt: int) -> None:
        """Forgets the lists of which too much may have changed since they were read.

        All, where another run landed since.

        A list that others hang on always: a key in it may belong to another project by now, and
        what came inside it goes with it. The others not in a backfill or a first load, which may
        take days, nor after many processes: their freshness is then that of the oldest list.
        """
        now = self._seconds()
        keeps = self.every_page or attempt > MAX_PROCESSES
        parents = {stream.parent for stream in self.streams.values()}
        forgotten: dict[str, set[str]] = {}
        for name, stream in self.streams.items():
            states = staging.ledger_states(self._reading, self.run.run_id, name)
            above = forgotten.get(stream.parent or "", ())
            kept = name not in parents and (keeps or self.stored(name) == 0)
            forgotten[name] = {
                walk.parent_id
                for walk in map(from_json, states)
                if (walk.embedded and above)
                or (landed and not keeps)
                or (not kept and walk.began < now - MAX_LIST_AGE)
                or walk.began > now  # by a clock that was ahead: nobody knows when
            }
            if forgotten[name] and name in parents:
                self._renewed.add(name)
        with self.engine.begin() as connection:
            self.beat(connection, self.clock())
            for name, parent_ids in forgotten.items():
                staging.forget(connection, self.run.run_id, name, parent_ids)

    def _give_way(self, landed: overtaken.CommittedRuns) -> None:
        """What another run wrote meanwhile is newer than the lists that this one read before."""
        with self.engine.begin() as connection:
            for name in self.streams:
                self.stale[name] = frozenset(self.walks[name])
                found = overtaken.drop_overtaken(
                    connection, self.run, name, landed.run_ids, whole=name in landed.whole
                )
                self.newer[name] = frozenset(
                    row_id for parent_id, row_id in found.live if parent_id in self.stale[name]
                )
                for row_id in found.dead:
                    self.seen[name].discard(row_id)
                for parent_id, row_id in found.met:
                    if self.seen[name].add(row_id):
                        self._touch(name, self.walks[name][parent_id]).append(row_id)
            self._end_segments()
            self._write(connection)  # what is dropped there must be known as met here
        self._batch, self._met = Batch(), {}

    def walk(self, stream: str, walk: ListWalk) -> ListWalk:
        """Registers a walk as the current one of its partition; a new one begins now."""
        walk.began = walk.began or self._seconds()
        walk.oldest_read = walk.oldest_read or walk.began
        self._ticks.setdefault((stream, walk.parent_id), self.tick())
        earlier = self.walks[stream].get(walk.parent_id)
        if earlier is not None:
            walk.segment = max(walk.segment, earlier.segment)
        self.walks[stream][walk.parent_id] = walk
        return walk

    def expect(self, stream: str, parent_ids: Iterable[str]) -> None:
        """The partitions that will come, in their order."""
        coming = list(parent_ids)
        for place in range(0, len(coming), READ_AHEAD):
            together = coming[place : place + READ_AHEAD]
            self._coming[stream].update(dict.fromkeys(together, together))

    def recall(self, stream: Stream, walk: ListWalk) -> PageCache | None:
        """What earlier walks of this list brought; None where no list is read twice as it is."""
        if (
            stream.is_single_page
            or walk.overlapping
            or stream.split_item is not whole
            or self.every_page
        ):
            return None  # (a backfill of a window counts what it leaves out)
        place = stream.name, walk.parent_id
        return self._recall.setdefault(place, PageCache(self._listed[stream.name], walk.parent_id))

    def take_page(self, stream: Stream, walk: ListWalk, page: Page) -> None:
        """One page of a walk; one that an earlier walk brought just so counts as it did then."""
        if page.ids is not None:
            self._count(stream, walk, set(page.ids))
            staged = self._listed[stream.name].before(walk.parent_id, page.ids)
            self._count_again(walk, staged.values())
            self._end_reading(stream, walk)
            return
        doubts = walk.rejected, walk.passed
        named = self._named(stream, walk, page.items)
        for begin_at in range(0, len(named), SLICE) or (0,):
            self._take(stream, [(walk, named[begin_at : begin_at + SLICE])])
            if len(named) > SLICE:
                self._between_slices()
        recall = self._recall.get((stream.name, walk.parent_id))
        plain = (walk.rejected, walk.passed) == doubts and len(named) == len(page.items)
        if recall is not None and plain:
            recall.note(page, [external_id for external_id, _ in named])

    def _between_slices(self) -> None:
        """A page of very many items is staged piece by piece, and a stop is heard between them.

        The walk's state waits for the end of the page: a run that resumes reads it again.
        """
        if self._is_full():
            self._keep_findings_back()
            in_transaction(self.engine, self._write)
            self._batch, self._waiting = Batch(), 0
        hear()

    def _is_full(self) -> bool:
        return len(self._batch) >= CHECKPOINT_ROWS or self._waiting >= MAX_WAITING

    def take(self, stream: Stream, found: Sequence[Found]) -> None:
        """The items of one page of each walk."""
        self._take(stream, [(walk, self._named(stream, walk, items)) for walk, items in found])

    def _take(self, stream: Stream, named: Sequence[Identified]) -> None:
        """Items by their ids; what they carry of other streams is taken too."""
        if stream.split_item is whole:
            self._compare(stream, named)
            return
        split = [
            (walk, [(id_, *stream.split_item(item)) for id_, item in items])
            for walk, items in named
        ]
        rejected = self._compare(
            stream, [(walk, [(id_, item) for id_, item, _ in parts]) for walk, parts in split]
        )
        inside: dict[str, list[Found]] = defaultdict(list)
        for walk, parts in split:
            for external_id, _, embedded in parts:
                for one in embedded if (walk.parent_id, external_id) not in rejected else ():
                    if one.stream in self.streams:
                        inner = self.walk(one.stream, begin(one.partition))
                        inner.embedded, inner.ended, inner.number = True, one.complete, 0
                        inner.oldest_read = walk.oldest_read
                        inside[one.stream].append((inner, one.items))
        for name, parts_of in inside.items():
            self.take(self.streams[name], parts_of)

    def drop_vanished(self, stream: str) -> None:
        """After a list of parents was read again: the lists of those that are gone are forgotten.

        A key in it may belong to another record than it did when an earlier process read it.
        """
        if stream not in self._renewed:
            return
        self.flush()
        there = self.parents(stream)
        with self.engine.begin() as connection:
            self.beat(connection, self.clock())
            for name, below in self.streams.items():
                if below.parent == stream:
                    gone = self.walks[name].keys() - there.keys()
                    staging.forget(connection, self.run.run_id, name, gone)
                    for parent_id in gone:
                        del self.walks[name][parent_id]

    def forget(self, stream: str, walk: ListWalk, reason: str) -> None:
        """What a walk brought is not staged after all; its partition is incomplete.

        Stored rows that it met stay met: they are not looked for elsewhere.
        """
        current = self.walk(stream, again(walk))
        give_up(current, StreamStatus.INCOMPLETE, reason)
        self._listed[stream].forget(walk.parent_id)
        self._recall.pop((stream, walk.parent_id), None)
        self._touch(stream, current)
        # rows and the walk's state: a process that died between them would miss the rows
        self._flush_and(
            lambda connection: staging.drop_staged(
                connection, self.run.run_id, stream, walk.parent_id
            )
        )

    def meet(self, stream: str, walk: ListWalk, row_id: int) -> None:
        """A stored row that is known to be there without having come."""
        walk.distinct += 1
        if self.seen[stream].add(row_id):
            self._touch(stream, walk).append(row_id)

    def checkpoint(self, stream: str, walk: ListWalk) -> None:
        """The walk's state belongs to what was taken; written when enough waits."""
        self._touch(stream, walk)
        if self.every_page or self.tick() >= self._due or self._is_full():
            self.flush()

    def flush(self) -> None:
        """Writes everything that waits, in one transaction."""
        if self._met or len(self._batch):
            self._flush_and(lambda _connection: None)
        self._due = self.tick() + CHECKPOINT_SECONDS

    def _flush_and(self, change: Callable[[Connection], None]) -> None:
        """Writes everything that waits, and then makes a change, in one transaction."""
        self._end_segments()

        def write(connection: Connection) -> None:
            self._write(connection)
            change(connection)

        in_transaction(self.engine, write)
        self._batch, self._met, self._waiting = Batch(), {}, 0

    def _end_segments(self) -> None:
        """What every list has met since the last checkpoint becomes part of the batch."""
        for (stream, parent_id), met in self._met.items():
            walk = self.walks[stream][parent_id]
            walk.segment += 1
            row = staging.ledger_row(self.run, stream, as_json(walk), walk.segment, met)
            self._batch.ledger.append(row)
        self._keep_findings_back()

    def _keep_findings_back(self) -> None:
        """Findings that a dry run does not write wait for its end."""
        if not self.keeps_findings:
            self.unwritten.rejects += self._batch.rejects
            if len(self.unwritten.drift) < MAX_DRIFT:
                self.unwritten.drift |= self._batch.drift
            self._batch.rejects, self._batch.drift = [], {}

    def _write(self, connection: Connection) -> None:
        relaxed(connection)
        now = self.clock()
        staging.write(connection, self.run, self._batch, now)
        self.beat(connection, now)

    def oldest_read(self, stream: str, *, now: datetime) -> datetime | None:
        """When the oldest page was read that a stream rests on; None where nothing was read.

        Never later than `now`. Where the clock went back since, it was read longer ago than the
        clock says.
        """
        reads = [walk.oldest_read for walk in self.walks[stream].values()]
        if not reads:
            return None
        (began, first_tick), tick = self._began, self.tick()
        if tick - first_tick - (now.timestamp() - began) > CLOCK_STEP:
            ticks = [self._ticks[stream, parent_id] for parent_id in self.walks[stream]]
            reads += [now.timestamp() - (tick - before) for before in ticks]
        return datetime.fromtimestamp(min(*reads, now.timestamp()), UTC)

    def _seconds(self) -> float:
        return self.clock().timestamp()

    def quiet(self, stream: str, walk: ListWalk) -> bool:
        """Whether nothing came or went of a stream since the last run, as far as this walk saw."""
        return walk.fresh == 0 and self.missing(stream) == 0

    def missing(self, stream: str) -> int:
        """How many stored live records of a stream, of those inside its scope, were not met."""
        seen, others = self.seen[stream], self.not_ours(stream)
        return self.stored(stream) - len(seen) - sum(row_id not in seen for row_id in others)

    def not_ours(self, stream: str) -> frozenset[int]:
        """The stored rows whose absence says nothing: out of scope, or written meanwhile."""
        nothing: frozenset[int] = frozenset()
        return self.outside.get(stream, nothing) | self.newer.get(stream, nothing)

    def stored(self, stream: str) -> int:
        """How many live records are stored of a stream; until this run lands that stays so."""
        if stream not in self._live:
            self._live[stream] = absent.live_rows(self._reading, stream, self.run.source)
        return self._live[stream]

    def stored_in(self, stream: str, walk: ListWalk) -> int:
        """How many live records are stored of one partition."""
        return absent.live_rows(self._reading, stream, self.run.source, walk.parent_id)

    def recount(self, stream: str, walk: ListWalk) -> None:
        """Counts what was met anew: across processes the ids are only known to the database."""
        self.flush()
        with self.engine.begin() as connection:
            self.beat(connection, self.clock())
            staging.settle(connection, self.run.run_id, stream)
            staged = staging.staged_counts(connection, self.run.run_id, stream)
        fresh = staged.get(walk.parent_id, {})
        news = fresh.get(Operation.CREATED, 0) + fresh.get(Operation.RESTORED, 0) + walk.passed
        walk.distinct = len(self.seen[stream]) + news

    def head(self, stream: str, external_id: str) -> Head | None:
        """What is stored of one record that belongs to no project."""
        found = staging.heads(self._reading, stream, self.run.source, {"": [external_id]})
        return found.get(("", external_id))

    def parents(self, stream: str) -> dict[str, str]:
        """External id -> key of the records met: the partitions of the streams below."""
        return staging.parents(self._reading, self.run, stream, self.seen[stream])

    def _touch(self, stream: str, walk: ListWalk) -> list[int]:
        return self._met.setdefault((stream, walk.parent_id), [])

    def _named(
        self, stream: Stream, walk: ListWalk, items: Sequence[Json]
    ) -> list[tuple[str, Json]]:
        """The items by id, the last of each id; those without one become rejects."""
        named, nameless = named_items(items, stream, most_rejects=self._room(walk))
        count = len(items) - len(named)
        walk.nameless += count
        self._reject(stream.name, walk, nameless, count)
        last = dict(named)
        if len(last) != len(named):
            self._batch.drift[stream.name, "", "one id twice in a page"] = "object"
        self._count(stream, walk, last.keys())
        return list(last.items())

    def _has_room_for_drift(self) -> bool:
        return len(self._batch.drift) < MAX_DRIFT

    def _reject(self, stream: str, walk: ListWalk, rejects: Sequence[Reject], count: int) -> None:
        """Counts rejected items, of which these are the first; keeps those there is room for."""
        kept = rejects[: self._room(walk)]
        self._batch.rejects += [(stream, walk.parent_id, self._with_room(one)) for one in kept]
        self._rejects += len(kept)
        walk.rejected += count
        walk.unkept += count - len(kept)

    def _with_room(self, reject: Reject) -> Reject:
        """The reject, without its payload where there is no room for that."""
        text = parsed_text(reject.payload)
        letters = len(text) * (1 if text.isascii() else WIDE)
        memory = letters + VALUE_BYTES * sum(map(text.count, (b",", b"[", b"{")))
        if memory > MAX_ITEM or self._payloads + memory > MAX_PAYLOADS:
            return replace(reject, payload=None)
        self._payloads += memory
        return reject

    def _room(self, walk: ListWalk) -> int:
        """How many more rejects are kept of a list."""
        kept = walk.rejected - walk.unkept
        return max(0, min(MAX_REJECTS - kept, MAX_REJECTS_OF_RUN - self._rejects))

    def _count(self, stream: Stream, walk: ListWalk, ids: Set[str]) -> None:
        """Counts the ids of a page: those met for the first time in this walk, and those again."""
        if stream.is_single_page and walk.ended and walk.pages < 2:
            walk.distinct += len(ids)  # one response: no two walks of it are compared
            return
        new = self._meet(stream.name, walk, ids)
        walk.repeated += len(ids) - len(new)
        note_ids(walk, new)

    def _meet(self, stream: str, walk: ListWalk, ids: Iterable[str]) -> list[str]:
        """Those of the ids that this walk meets for the first time."""
        listed, place = self._listed[stream], (stream, walk.parent_id, walk.number)
        if place not in self._readings:
            self._readings[place] = listed.new_reading()
        return listed.meet(walk.parent_id, self._readings[place], ids)

    def _count_again(self, walk: ListWalk, records: Iterable[Before]) -> None:
        """Counts what an earlier walk of the list has staged."""
        for one in records:
            walk.fresh += one.fresh
            walk.newcomers += _is_newcomer(one.created, walk)

    def _end_reading(self, stream: Stream, walk: ListWalk) -> None:
        if walk.ended:
            self._readings.pop((stream.name, walk.parent_id, walk.number), None)

    def _heads(self, stream: Stream, wanted: Mapping[str, list[str]]) -> Heads:
        """What is stored of these; nothing is asked while nothing is stored of the stream."""
        if stream.name not in self._stores:
            found = staging.holds_any(self._reading, stream.name, self.run.source)
            self._stores[stream.name] = found  # only this run could change it, by its merge
        if not self._stores[stream.name]:
            return {}
        if stream.is_single_page and len(wanted) == 1:
            return self._read_ahead(stream.name, next(iter(wanted)))
        return staging.heads(self._reading, stream.name, self.run.source, wanted)

    def _read_ahead(self, stream: str, parent_id: str) -> Heads:
        """What is stored of a whole partition, read together with those that come around it."""
        if parent_id not in self._ahead[stream]:
            together = self._coming[stream].get(parent_id, [parent_id])
            found: dict[str, dict[tuple[str, str], Head]] = {one: {} for one in together}
            wanted = dict.fromkeys(together, ())
            stored = staging.heads(self._reading, stream, self.run.source, wanted, whole=True)
            for place, head in stored.items():
                found[place[0]][place] = head
            self._ahead[stream] = dict(found)
        return self._ahead[stream][parent_id]

    def _compare(self, stream: Stream, found: Sequence[Identified]) -> set[tuple[str, str]]:
        """Stages what is new; -> (parent id, external id) of the rejects."""
        wanted = {walk.parent_id: [id_ for id_, _ in items] for walk, items in found}
        stored = self._heads(stream, wanted)
        rejected: set[tuple[str, str]] = set()
        listed = self._listed[stream.name]
        for walk, items in found:
            before = listed.before(walk.parent_id, wanted[walk.parent_id])
            outcome = compare(items, stored, stream, walk.partition, before)
            walk.unstored += sum(
                head is None or head.deleted
                for reject in outcome.rejects
                for head in [stored.get((walk.parent_id, reject.external_id or ""))]
            )
            self._pass_by(stream, walk, outcome)
            self._stage(stream.name, walk, outcome)
            for one in outcome.staged if not stream.is_single_page else ():
                listed.put(walk.parent_id, one.external_id, _before(one))
            rejected.update((walk.parent_id, r.external_id or "") for r in outcome.rejects)
            self._end_reading(stream, walk)
        return rejected

    def _pass_by(self, stream: Stream, walk: ListWalk, outcome: PageChanges) -> None:
        """What is not wanted has come, as the counts tell, and is not staged."""
        passed = [one for one in outcome.staged if not self.keeps(stream, one)]
        if passed:
            outcome.staged = [one for one in outcome.staged if self.keeps(stream, one)]
        for one in passed:
            walk.fresh += one.operation != Operation.UPDATED
            walk.passed += one.operation != Operation.UPDATED
            walk.newcomers += _is_newcomer(_created(one), walk)

    def _stage(self, stream: str, walk: ListWalk, outcome: PageChanges) -> None:
        met = self._touch(stream, walk)
        met += [row_id for row_id in outcome.met if self.seen[stream].add(row_id)]
        self._reject(stream, walk, outcome.rejects, len(outcome.rejects))
        self._count_again(walk, outcome.again)
        for staged in outcome.staged:
            walk.fresh += staged.operation != Operation.UPDATED
            walk.newcomers += _is_newcomer(_created(staged), walk)
            self._ordinal += 1
            self._batch.staged[stream].append((self._ordinal, staged))
            self._waiting += staged.size
            for path, kind in staged.record.drift if self._has_room_for_drift() else ():
                self._batch.drift[stream, path, kind] = type_at(staged.raw, path)


def _before(staged: StagedRecord) -> Before:
    return Before(staged.content_hash, staged.operation != Operation.UPDATED, _created(staged))


def _created(staged: StagedRecord) -> float | None:
    """When the record was created, in epoch seconds of the vendor's clock."""
    moment = staged.record.created_at
    return None if moment is None else moment.timestamp()


def _is_newcomer(created: float | None, walk: ListWalk) -> bool:
    """Whether a record of a later page was created since the walk began, by the vendor's clock.

    By ours too: where one of the two is ahead, the other tells.
    """
    if created is None or walk.pages < 2:
        return False
    return created >= min(walk.began, walk.sent_at or walk.began) - CLOCK_DIFFERENCE
