"""Rate budgets in the database: what every process with one credential has been granted.

The caller's transaction holds the credential's row, so that two processes never take one slot.
"""

from array import array
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from etl.db.run_tables import rate_budgets

CLOCK_DIFFERENCE = timedelta(minutes=2)  # between two machines that keep the time

Grant = Callable[[list[float], float], list[float]]  # grants, blocked until -> grants


def change(connection: Connection, credential: str, now: datetime, grant: Grant) -> list[float]:
    """The grants of a credential become what `grant` makes of them; -> the new ones."""
    row = _held(connection, credential, now)
    if row is None:
        _make(connection, credential, now)
        row = _held(connection, credential, now)
    grants, blocked_until = row if row is not None else ([], 0.0)
    new = grant(grants, blocked_until)
    connection.execute(
        update(rate_budgets)
        .where(rate_budgets.c.credential == credential)
        .values(grants=array("d", new).tobytes(), updated_at=now)
    )
    return new


def granted(connection: Connection, credential: str, now: datetime) -> tuple[list[float], float]:
    """The grants of a credential, and until when it is blocked; read without a lock.

    Both in epoch seconds. A refusal keeps everyone with this credential from asking.
    """
    query = select(rate_budgets).where(rate_budgets.c.credential == credential)
    return _read(connection.execute(query).first(), now) or ([], 0.0)


def known_limits(connection: Connection, credential: str) -> tuple[str, datetime | None]:
    """The limits that the provider grants to a credential, and when it was asked for them."""
    budget = rate_budgets.c
    query = select(budget.rate_limits, budget.limits_read_at)
    row = connection.execute(query.where(budget.credential == credential)).first()
    return ("", None) if row is None else (row.rate_limits or "", row.limits_read_at)


def note_limits(connection: Connection, credential: str, limits: str, now: datetime) -> None:
    """Store the limits that the provider grants to a credential."""
    if _held(connection, credential, now) is None:
        _make(connection, credential, now)
    connection.execute(
        update(rate_budgets)
        .where(rate_budgets.c.credential == credential)
        .values(rate_limits=limits, limits_read_at=now, updated_at=now)
    )


def block(
    connection: Connection, credential: str, until: float, now: datetime, reason: str = ""
) -> None:
    """Nobody with this credential asks before that moment; an earlier one changes nothing."""
    if _held(connection, credential, now) is None:
        _make(connection, credential, now)
    moment = datetime.fromtimestamp(until, UTC)
    budget = rate_budgets.c
    connection.execute(
        update(rate_budgets)
        .where(budget.credential == credential)
        .where(budget.blocked_until.is_(None) | (budget.blocked_until < moment))
        .values(blocked_until=moment, blocked_reason=reason, updated_at=now)
    )


def block_reason(connection: Connection, credential: str, now: datetime) -> str:
    """What the refusal said that keeps everyone with this credential from asking at `now`."""
    budget = rate_budgets.c
    query = select(budget.blocked_reason).where(
        budget.credential == credential, budget.blocked_until > now
    )
    return connection.execute(query).scalar() or ""


def unblock(connection: Connection, credential: str) -> None:
    """Forgets a refusal."""
    connection.execute(
        update(rate_budgets)
        .where(rate_budgets.c.credential == credential)
        .values(blocked_until=None, blocked_reason=None)
    )


def _held(
    connection: Connection, credential: str, now: datetime
) -> tuple[list[float], float] | None:
    """The row, locked until the end of the transaction; a block of a wrong clock is lifted."""
    this = rate_budgets.c.credential == credential
    row = connection.execute(select(rate_budgets).where(this).with_for_update()).first()
    if row is not None and _is_ahead(row, now):
        connection.execute(update(rate_budgets).where(this).values(blocked_until=None))
    return _read(row, now)


def _read(row: Any, now: datetime) -> tuple[list[float], float] | None:
    if row is None:
        return None
    grants = array("d")
    grants.frombytes(row.grants)
    return list(grants), 0.0 if _is_ahead(row, now) else _epoch(row.blocked_until)


def _is_ahead(row: Any, now: datetime) -> bool:
    """Whether a clock wrote the row that has gone back since: its block would last too long."""
    written: datetime = row.updated_at
    return written > now + CLOCK_DIFFERENCE


def _make(connection: Connection, credential: str, now: datetime) -> None:
    try:
        with connection.begin_nested():
            connection.execute(
                insert(rate_budgets).values(credential=credential, grants=b"", updated_at=now)
            )
    except IntegrityError:
        return  # another process was first


def _epoch(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
