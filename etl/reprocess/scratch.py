"""The past of a source made anew in a scratch database, moment after moment, by today's code.

What a run observed comes from its dump where there is one, through the pipeline; else from the
payloads that it stored. The database itself is only read.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, insert, select

from etl.archive.reader import Dump
from etl.config.settings import Settings
from etl.db.bulk import copy_rows
from etl.db.engine import open_engine
from etl.db.run_tables import outside_scope, run_streams, runs
from etl.db.tables import RECORDS
from etl.db.types import metadata
from etl.errors import ConfigError, StoreError
from etl.load import scope_store
from etl.load.scope import Credential, scope_of
from etl.load.scope_store import StoredScope
from etl.model import COMMITTED, RunKind
from etl.operations.sync import Clock, RunOptions, utc_now
from etl.providers.kit import Provider
from etl.reprocess.replay_archive import job_of_dump, replay
from etl.reprocess.replay_versions import VersionReplay
from etl.reprocess.stored_versions import Moment, lacking, moments

BEAT = timedelta(minutes=1)
_FIRST = 1 << 40  # the number of the first run that is made here: stored ones keep theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDumps:
    """The dumps of a source from which its past is taken, and the settings to read them with.

    left_out: dumps that cannot be taken for one, and why.
    """

    settings: Settings
    dumps: Sequence[Dump]
    left_out: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class ScratchDatabase:
    """The scratch database, and what it was made of.

    known: when a stored run observed -> its number. taken: run there -> the stored run of its dump.
    left_out: what was not used, and why.
    """

    scratch: Engine
    stored: Connection
    source: str
    provider: Provider
    known: Mapping[datetime, int]
    moments: int = 0
    taken: dict[int, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    _loaded: set[datetime] = field(default_factory=set)
    _keys: dict[str, str] | None = field(default_factory=dict)

    def add(self, moment: Moment) -> None:
        """What a run stored is merged again, at its moment."""
        with self.scratch.begin() as made:
            if self._keys is None:
                self._keys = _project_keys(made, self.source)
            _copy_run(self.stored, made, moment.run_id)
            rebuild = VersionReplay(
                connection=made, source=self.source, provider=self.provider, keys=self._keys
            )
            rebuild.add(moment)
        self.moments += 1

    def load(self, dump: Dump, settings: Settings) -> bool:
        """A dump is read as its run did; whether anything can be made of it."""
        try:
            job = job_of_dump(settings, self.source, dump, RunOptions(), self.provider)
            answers = dump.open()
        except (ConfigError, StoreError) as error:  # options of another code; a damaged index
            self.left_out.append(str(error))
            return False
        self._join(dump.at)
        report = replay(self.scratch, settings, job, replace(dump, open=lambda: answers))
        if report.status not in COMMITTED or report.run_id is None:
            self.left_out.append(f"{dump.name}: {report.error}")
            return False
        self.taken[report.run_id] = self.known[dump.at]
        self._loaded.add(dump.at)
        self._keys = None
        self.moments += 1
        return True

    def _join(self, at: datetime) -> None:
        """The scopes, and what is outside of them, as the last run before left them.

        Where that run was loaded from its dump, it has done so itself.
        """
        query = (
            select(runs)
            .where(runs.c.source == self.source, runs.c.observed_at < at)
            .where(runs.c.kind.not_in((RunKind.DRY_RUN, RunKind.BACKFILL)))
            .order_by(runs.c.observed_at.desc())
        )
        last = self.stored.execute(query.limit(1)).first()
        if last is None or last.observed_at in self._loaded:
            return
        with self.scratch.begin() as made:
            _copy_run(self.stored, made, last.run_id)
            for stream, scope in self._scopes_of(last).items():
                scope_store.store(made, self.source, stream, scope, last.run_id)
            for stream in RECORDS:
                left = _outside(self.stored, made, self.source, stream, at)
                left -= scope_store.outside(made, self.source, stream)
                scope_store.leave(made, self.source, stream, left, last.run_id)

    def _scopes_of(self, run: Any) -> Mapping[str, StoredScope]:
        """Stream -> the scope in which a stored run read all of it."""
        said = json.loads(run.scope) if run.scope.startswith("{") else {}
        if run.identity is None or "base_url" not in said:
            return {}
        whole = select(run_streams.c.stream).where(
            run_streams.c.run_id == run.run_id,
            run_streams.c.parent_id == "",
            run_streams.c.complete,
        )
        complete = set(self.stored.execute(whole).scalars())
        streams = [one for one in self.provider.streams if one.name in said["options"]]
        try:
            options = {
                one.name: one.options.model_validate(said["options"][one.name]) for one in streams
            }
        except ValidationError:  # of a code whose options were others
            return {}
        credential = Credential(key=said["key"], identity=run.identity)
        base_url = said["base_url"]
        return {
            one.name: StoredScope(
                scope=scope_of(self.provider, one, options, base_url, run.identity),
                credential=credential,
            )
            for one in streams
            if one.name in complete
        }


@contextmanager
def remade(
    stored: Connection,
    source: str,
    provider: Provider,
    dumps: SourceDumps | None,
    *,
    beat: Callable[[], None] = lambda: None,
    clock: Clock = utc_now,
) -> Iterator[ScratchDatabase]:
    """The whole past of the stored runs; the scratch database goes at the end.

    beat: is called now and then. StoreError where history was pruned.
    """
    begin = lacking(stored, source)
    if begin is not None:
        raise StoreError(
            f"{source}: history before {begin:%Y-%m-%d %H:%M:%S}Z was pruned, so the whole past "
            "cannot be made anew; `etl audit` names rows that today's code takes differently, and "
            "`etl backfill --from-archive` makes it in a new database"
        )
    with TemporaryDirectory(prefix="etl-") as folder:
        scratch = open_engine(f"sqlite:///{folder}/scratch.db")
        metadata.create_all(scratch)
        found = ScratchDatabase(
            scratch=scratch,
            stored=stored,
            source=source,
            provider=provider,
            known=_observed(stored, source),
        )
        try:
            _number_from(scratch, _FIRST)
            beaten = clock()
            for dump, moment in _in_order(moments(stored, source), _of_known_runs(found, dumps)):
                loaded = dump is not None and dumps and found.load(dump, dumps.settings)
                if moment is not None and not loaded:
                    found.add(moment)
                if clock() - beaten >= BEAT:
                    beat()
                    beaten = clock()
            yield found
        finally:
            scratch.dispose()


def _of_known_runs(found: ScratchDatabase, dumps: SourceDumps | None) -> Sequence[Dump]:
    """The dumps of stored runs; a run that is not known has no place among those that are."""
    if dumps is None:
        return ()
    last = max(found.known, default=None)
    later = sum(last is None or dump.at > last for dump in dumps.dumps)
    taken = [dump for dump in dumps.dumps if dump.at in found.known]
    found.left_out += dumps.left_out
    if later:
        said = "later than all that is known; `etl backfill --from-archive` loads them"
        found.left_out.append(f"{later} {said}")
    if other := len(dumps.dumps) - len(taken) - later:
        said = "of runs that this database does not have, or has pruned"
        found.left_out.append(f"{other} {said}")
    return taken


def _in_order(
    stored: Iterator[Moment], dumps: Sequence[Dump]
) -> Iterator[tuple[Dump | None, Moment | None]]:
    """By time; what is of one moment together."""
    waiting = deque(dumps)
    for moment in stored:
        while waiting and waiting[0].at < moment.at:
            yield waiting.popleft(), None
        of_it = waiting.popleft() if waiting and waiting[0].at == moment.at else None
        yield of_it, moment
    yield from ((dump, None) for dump in waiting)


def _observed(stored: Connection, source: str) -> Mapping[datetime, int]:
    query = select(runs.c.observed_at, runs.c.run_id).where(
        runs.c.source == source, runs.c.observed_at.is_not(None)
    )
    return {row.observed_at: row.run_id for row in stored.execute(query)}


def _number_from(scratch: Engine, first: int) -> None:
    """The next run there has at least that number."""
    row = dict.fromkeys(("source", "provider", "kind", "status", "scope", "etl_version"), "")
    with scratch.begin() as made:
        values = {**row, "run_id": first, "attempts": 0, "started_at": utc_now()}
        made.execute(insert(runs).values(values))


def _copy_run(stored: Connection, made: Connection, run_id: int) -> None:
    there = select(runs.c.run_id).where(runs.c.run_id == run_id)
    if made.execute(there).first() is None:
        row = stored.execute(select(runs).where(runs.c.run_id == run_id)).one()
        copy_rows(made, runs, [column.name for column in runs.c], [tuple(row)])


def _project_keys(made: Connection, source: str) -> dict[str, str]:
    """External id of a project -> its key."""
    table = RECORDS["projects"].current
    query = select(table.c.external_id, table.c.key).where(table.c.source == source)
    return {row.external_id: row.key for row in made.execute(query)}


def _outside(
    stored: Connection, made: Connection, source: str, stream: str, at: datetime
) -> set[int]:
    """The rows there that were outside of the scope at that moment, and still are."""
    tables = RECORDS[stream]
    table = tables.current
    place = (table.c.parent_id, table.c.external_id)
    query = (
        select(*place)
        .join(outside_scope, outside_scope.c.row_id == table.c[tables.id])
        .join(runs, runs.c.run_id == outside_scope.c.since_run)
        .where(outside_scope.c.source == source, outside_scope.c.stream == stream)
        .where(runs.c.observed_at < at)
    )
    left = {tuple(row) for row in stored.execute(query)}
    if not left:
        return set()
    rows = made.execute(select(*place, table.c[tables.id]).where(table.c.source == source))
    return {row_id for parent_id, external_id, row_id in rows if (parent_id, external_id) in left}
