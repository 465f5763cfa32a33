"""Records in pages for the web console, now or at a moment. Reads only.

A page is found by its place in an index, never by counting. A search reads at most so many records
at a time and says where it stopped: an answer comes soon however many records there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    or_,
    select,
    tuple_,
)

from etl.db.engine import walks_of_indexes
from etl.db.run_tables import runs
from etl.db.tables import RECORDS
from etl.history import as_of

Rows = Sequence[Any]

PAGE = 50
LOOK = 20_000
LOOK_INTO = 4000  # at layers whose reservations are summed up
LOOK_BACK = 1000  # the same in the past, where they stand in payloads
BATCH = 100
AT_LEAST = 1000  # of the next source, however much was read of those before


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page ended: records are in the order of source, today's key, id."""

    source: str
    key: str
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """Which records are asked for. text: part of a key or name; state: live, deleted, all.

    project_id: those of one project, in the order in which they were first seen.
    reserved: layers of which at least so many percent are reserved, in that environment or any.
    """

    stream: str
    sources: Sequence[str]
    text: str = ""
    project_id: int | None = None
    state: str = "live"
    reserved: int | None = None
    environment: str = ""
    moment: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """A page of rows. after: where to go on; searching: it is not full, but enough was read."""

    rows: Rows
    after: Place | None
    searching: bool = False


def sources(connection: Connection) -> Rows:
    """Every source that ever ran, with its provider."""
    query = select(runs.c.source, runs.c.provider).distinct()
    return connection.execute(query.order_by(runs.c.source)).all()


def records(
    connection: Connection,
    wanted: RecordQuery,
    after: Place | None,
    *,
    most: int = PAGE,
    look: int = LOOK,
) -> RecordPage:
    """The next page of records after a place, with all their columns but `raw`."""
    places: list[Place] = []
    for source in sorted(wanted.sources):
        if after is not None and source < after.source:
            continue
        start = after if after is not None and source == after.source else None
        walk = _Walk(wanted=wanted, source=source, start=start)
        with walks_of_indexes(connection):
            end, read = walk.end(connection, max(look, AT_LEAST))
            places += walk.matches(connection, end, most + 1 - len(places))
        look -= read
        if len(places) > most:
            rows = _rows(connection, wanted, places[:most])
            return RecordPage(rows=rows, after=places[most - 1])
        if end is not None:
            return RecordPage(rows=_rows(connection, wanted, places), after=end, searching=True)
    return RecordPage(rows=_rows(connection, wanted, places), after=None)


def _rows(connection: Connection, wanted: RecordQuery, places: Sequence[Place]) -> Rows:
    """The records at these places, in their order."""
    if not places:
        return []  # an empty IN is no condition that an index serves
    identifier = RECORDS[wanted.stream].id
    table = as_of.rows(wanted.stream, wanted.moment, deleted=True)
    columns = [column for column in table.c if column.name != "raw"]
    ids = [place.id for place in places]
    query = select(*columns).where(table.c[identifier].in_(ids))
    found = {getattr(row, identifier): row for row in connection.execute(query)}
    return [found[one] for one in ids if one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """One source, or one project of it, in the order of an index."""

    wanted: RecordQuery
    source: str
    start: Place | None

    def end(self, connection: Connection, look: int) -> tuple[Place | None, int]:
        """The place so many records on, or None when there are fewer; and how many are read."""
        part = select(*self._order).where(*self._range(self.start, None)).order_by(*self._order)
        last = connection.execute(part.offset(look - 1).limit(1)).first()
        if last is not None:
            return self._place(last), look
        count = select(func.count()).select_from(part.order_by(None).subquery())
        return None, connection.execute(count).scalar_one()

    def matches(self, connection: Connection, end: Place | None, most: int) -> list[Place]:
        """The first matching records up to that place."""
        if self.wanted.reserved is None or self.wanted.moment is None:
            return self._matches(connection, self.start, end, most)
        kept: list[Place] = []
        start = self.start
        while len(kept) < most:
            batch = self._matches(connection, start, end, BATCH)
            full = self._full(connection, [place.id for place in batch])
            kept += [place for place in batch if place.id in full]
            if len(batch) < BATCH:
                break
            start = batch[-1]
        return kept[:most]

    def _matches(
        self, connection: Connection, start: Place | None, end: Place | None, most: int
    ) -> list[Place]:
        """What one statement finds; of layers that were full those that may have been."""
        tables, moment = RECORDS[self.wanted.stream], self.wanted.moment
        query = select(*self._order).where(*self._range(start, end))
        if moment is not None:
            closed = tables.history
            query = query.outerjoin_from(
                tables.current,
                closed,
                and_(
                    closed.c[tables.id] == tables.current.c[tables.id],
                    closed.c.valid_from <= moment,
                    closed.c.valid_to > moment,
                ),
            ).where(or_(self._still, closed.c.valid_from.is_not(None)))
        query = query.where(*self._filters()).order_by(*self._order).limit(most)
        return [self._place(row) for row in connection.execute(query)]

    def _full(self, connection: Connection, ids: Sequence[int]) -> set[int]:
        """Which of these layers held such reservations at the moment."""
        if not ids:
            return set()
        held = as_of.rows("layer_reservations", self.wanted.moment)
        query = self._groups(held).where(held.c.layer_id.in_(ids))
        return set(connection.execute(query).scalars())

    @property
    def _order(self) -> tuple[ColumnElement[Any], ...]:
        tables = RECORDS[self.wanted.stream]
        identifier = tables.current.c[tables.id]
        if self.wanted.project_id is not None:
            return (identifier,)
        return (tables.current.c.key, identifier)

    def _range(self, start: Place | None, end: Place | None) -> list[ColumnElement[bool]]:
        current = RECORDS[self.wanted.stream].current
        project = self.wanted.project_id
        asked = [
            current.c.source == self.source if project is None else current.c.project_id == project
        ]
        if start is not None:
            asked.append(tuple_(*self._order) > tuple_(*self._values(start)))
        if end is not None:
            asked.append(tuple_(*self._order) <= tuple_(*self._values(end)))
        return asked

    def _values(self, place: Place) -> tuple[Any, ...]:
        return (place.id,) if self.wanted.project_id is not None else (place.key, place.id)

    def _place(self, row: Any) -> Place:
        key = "" if self.wanted.project_id is not None else row[0]
        return Place(source=self.source, key=key, id=row[-1])

    @property
    def _still(self) -> ColumnElement[bool]:
        """Whether the current row held at the moment already."""
        return RECORDS[self.wanted.stream].current.c.changed_at <= self.wanted.moment

    def _then(self, name: str) -> Any:
        """A column as it was at the moment."""
        tables = RECORDS[self.wanted.stream]
        if self.wanted.moment is None:
            return tables.current.c[name]
        return case((self._still, tables.current.c[name]), else_=tables.history.c[name])

    def _filters(self) -> list[ColumnElement[bool]]:
        wanted, asked = self.wanted, []
        if wanted.state != "all":
            deleted = self._then("is_deleted")
            asked.append(deleted if wanted.state == "deleted" else ~deleted)
        if wanted.text:
            names = (self._then("key"), self._then("name"))
            asked.append(or_(*(name.icontains(wanted.text, autoescape=True) for name in names)))
        if wanted.reserved is not None:
            asked.append(self._reserved())
        return asked

    def _reserved(self) -> ColumnElement[bool]:
        """Whether a layer holds such reservations; at a moment: whether it ever held some."""
        held = RECORDS["layers"].children[1].current
        query = self._groups(held)
        if self.wanted.moment is not None:
            query = select(held.c.layer_id)
        mine = held.c.layer_id == RECORDS["layers"].current.c.layer_id
        live = [~held.c.is_deleted] if self.wanted.moment is None else []
        return query.where(mine, *live).correlate(RECORDS["layers"].current).exists()

    def _groups(self, held: Any) -> Select[Any]:
        """Layers with an environment in which so many percent are reserved."""
        least, environment = self.wanted.reserved, self.wanted.environment
        query = select(held.c.layer_id).group_by(held.c.layer_id, held.c.environment_key)
        if environment:
            query = query.where(held.c.environment_key == environment)
        return query.having(func.sum(held.c.reservation_percent) >= least) if least else query
