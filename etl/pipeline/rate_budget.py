"""The turns of a run: slots of a credential's rate budget, taken from the database in handfuls.

A run that yields (a backfill) takes a slot only when it is free at once in its smaller share of
every window, and books nothing ahead: whoever does not yield finds the rest of the window free.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from etl.db.engine import reading
from etl.extract.rate_limit import Window, last_of, slots, still_counting
from etl.pipeline import rate_budget_rows

HANDFUL = 20  # a twentieth of the narrowest window at once: few transactions, little lost by a kill
LIMITS_VALID = timedelta(days=1)
LOOK_AGAIN = 5.0  # seconds between two looks whether somebody else was refused


@dataclass(slots=True, kw_only=True)
class RateBudget:
    """Gives turns to the threads of a run; close() gives back what was not used.

    yields: others with this credential go first.
    """

    engine: Engine
    credential: str
    windows: Sequence[Window]
    clock: Callable[[], float]
    yields: bool = False
    _held: list[float] = field(default_factory=list, init=False)
    _blocked: float = field(default=0.0, init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def turn(self) -> float:
        """When the next request may be sent, in epoch seconds."""
        with self._lock:
            if not self.windows:
                return self._blocked_until()
            if self.yields:
                return self._slot_or_later()
            if not self._held:
                self._held = self._reserve()
            return self._held.pop(0)

    def waited(self, turn: float) -> float:
        """The turn after the wait for it: its own slot, or what is free by now."""
        return self.turn() if self.yields and self.windows else turn

    def knows_limits(self) -> bool:
        """Whether the provider said within a day which limits it grants to this credential."""
        with reading(self.engine) as connection:
            _, read_at = rate_budget_rows.known_limits(connection, self.credential)
        now = self._now()
        return read_at is not None and now - LIMITS_VALID < read_at <= now

    def learn(self, limits: Sequence[str], windows: Sequence[Window]) -> None:
        """The limits that the provider grants to this credential, and our share of them."""
        with self._lock, self.engine.begin() as connection:
            self.windows = windows
            rate_budget_rows.note_limits(connection, self.credential, " ".join(limits), self._now())

    def block(self, until: float, reason: str = "") -> None:
        """A refusal: nobody with this credential asks before that moment."""
        with self._lock, self.engine.begin() as connection:
            self._blocked = max(self._blocked, until)
            rate_budget_rows.block(connection, self.credential, until, self._now(), reason)

    def reason(self) -> str:
        """What the refusal said that keeps everyone from asking now; empty without one."""
        with reading(self.engine) as connection:
            return rate_budget_rows.block_reason(connection, self.credential, self._now())

    def unblock(self) -> None:
        """Requests may be sent again, whatever an earlier refusal asked for."""
        with self._lock, self.engine.begin() as connection:
            self._blocked = 0.0
            rate_budget_rows.unblock(connection, self.credential)

    def last(self, requests: int) -> float:
        """When the last of that many requests may be sent, as things stand."""
        now = self.clock()
        with reading(self.engine) as connection:
            grants, blocked = rate_budget_rows.granted(connection, self.credential, self._now())
        counting = still_counting(grants, self.windows, now)
        return last_of(counting, self.windows, requests=requests, now=max(now, blocked))

    def close(self) -> None:
        """Gives unused slots back to the others; without the database they are lost to them."""
        with self._lock:
            unused, self._held = set(self._held), []
            if unused:
                with suppress(SQLAlchemyError), self.engine.begin() as connection:
                    rate_budget_rows.change(
                        connection,
                        self.credential,
                        self._now(),
                        lambda grants, _: [grant for grant in grants if grant not in unused],
                    )

    def _reserve(self) -> list[float]:
        now = self.clock()
        count = max(1, min(window.requests for window in self.windows) // HANDFUL)
        taken: list[float] = []

        def grant(grants: list[float], blocked: float) -> list[float]:
            counting = still_counting(grants, self.windows, now)
            taken.extend(slots(counting, self.windows, count=count, now=now, not_before=blocked))
            return counting + taken

        with self.engine.begin() as connection:
            rate_budget_rows.change(connection, self.credential, self._now(), grant)
        return taken

    def _slot_or_later(self) -> float:
        """A slot that is free now; or when to look again, without one."""
        now = self.clock()
        moment = now

        def grant(grants: list[float], blocked: float) -> list[float]:
            nonlocal moment
            counting = still_counting(grants, self.windows, now)
            (moment,) = slots(counting, self.windows, count=1, now=now, not_before=blocked)
            return [*counting, moment] if moment <= now else counting

        with self.engine.begin() as connection:
            rate_budget_rows.change(connection, self.credential, self._now(), grant)
        return moment

    def _blocked_until(self) -> float:
        now = self.clock()
        if now - self._looked >= LOOK_AGAIN:
            self._looked = now
            with reading(self.engine) as connection:
                _, found = rate_budget_rows.granted(connection, self.credential, self._now())
            self._blocked = max(self._blocked, found)
        return self._blocked

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)
