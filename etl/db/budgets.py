"""Rate budgets in the database: what every process with one credential has been granted.

The caller's transaction holds the credential's row, so that two processes never take one slot.
"""

from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from etl.db.run_tables import rate_budgets

Grant = Callable[[list[float], float], list[float]]  # grants, blocked until -> grants


def change(connection: Connection, credential: str, now: datetime, grant: Grant) -> list[float]:
    """The grants of a credential become what `grant` makes of them; -> the new ones."""
    row = _held(connection, credential)
    if row is None:
        _make(connection, credential, now)
        row = _held(connection, credential)
    grants, blocked_until = row if row is not None else ([], 0.0)
    new = grant(grants, blocked_until)
    connection.execute(
        update(rate_budgets)
        .where(rate_budgets.c.credential == credential)
        .values(grants=array("d", new).tobytes(), updated_at=now)
    )
    return new


def blocked_until(connection: Connection, credential: str) -> float:
    """Until when a refusal keeps everyone with this credential from asking; epoch seconds."""
    query = select(rate_budgets.c.blocked_until).where(rate_budgets.c.credential == credential)
    return _epoch(connection.execute(query).scalar())


def granted(connection: Connection, credential: str) -> tuple[list[float], float]:
    """The grants of a credential, and until when it is blocked; read without a lock."""
    query = select(rate_budgets).where(rate_budgets.c.credential == credential)
    return _read(connection.execute(query).first()) or ([], 0.0)


def block(connection: Connection, credential: str, until: float, now: datetime) -> None:
    """Nobody with this credential asks before that moment; an earlier one changes nothing."""
    if _held(connection, credential) is None:
        _make(connection, credential, now)
    moment = datetime.fromtimestamp(until, UTC)
    budget = rate_budgets.c
    connection.execute(
        update(rate_budgets)
        .where(budget.credential == credential)
        .where(budget.blocked_until.is_(None) | (budget.blocked_until < moment))
        .values(blocked_until=moment, updated_at=now)
    )


def _held(connection: Connection, credential: str) -> tuple[list[float], float] | None:
    """The row, locked until the end of the transaction."""
    row = connection.execute(
        select(rate_budgets).where(rate_budgets.c.credential == credential).with_for_update()
    ).first()
    return _read(row)


def _read(row: Any) -> tuple[list[float], float] | None:
    if row is None:
        return None
    grants = array("d")
    grants.frombytes(row.grants)
    return list(grants), _epoch(row.blocked_until)


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
