"""The sandbox as a server: all three vendors on one port, told apart by the path.

`Sandbox` serves in the background for tests, `serve` in the foreground for `etl sandbox`.
"""

import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from types import TracebackType
from typing import Any, Self

from etl.sandbox.admin import PREFIX, administer
from etl.sandbox.answering import Answers, vendor_of, without_keys
from etl.sandbox.connection import converse
from etl.sandbox.faults import MUTATE, PREVIOUS, Fault, Plan
from etl.sandbox.limits import Limit, Limits, checked_limits
from etl.sandbox.listener import Listener
from etl.sandbox.message import Call, Reply, Vendor, reply_json
from etl.sandbox.scenario import Scenario, read
from etl.sandbox.values import KEYS, Seen, Sizes
from etl.sandbox.world import World


class Sandbox:
    """A server in a background thread, from `with` to the end of it."""

    def __init__(  # noqa: PLR0913 - everything but the world has a default and a name
        self,
        world: World | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Sequence[Fault] = (),
        latency: float = 0.0,
        rate_limits: Mapping[str, Limit] | None = None,
        page_cap: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if page_cap is not None and page_cap < 1:
            raise ValueError(f"page_cap must be positive, not {page_cap}")
        self.world = world if world is not None else World()
        self.requests: list[Seen] = []
        self._address = (host, port)
        self._faults = tuple(faults)
        self._plan = Plan(faults)
        self._latency, self._clock = latency, clock
        self._limits = Limits(clock, None if rate_limits is None else checked_limits(rate_limits))
        self._answers = Answers(self.world, page_cap)
        self._asked: Counter[str] = Counter()
        self._given: dict[str, Reply] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._listener: Listener | None = None

    def __enter__(self) -> Self:
        self._stopping.clear()
        self._listener = Listener(*self._address, self._converse)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        if self._listener:
            self._listener.stop()
        self._listener = None

    @property
    def url(self) -> str:
        """Where it listens, without a path: the base URL of every vendor."""
        if self._listener is None:
            raise RuntimeError("the sandbox is not running; use it in a with statement")
        host = f"[{self._address[0]}]" if ":" in self._address[0] else self._address[0]
        return f"http://{host}:{self._listener.port}"

    def counts(self) -> dict[str, dict[str, int]]:
        """What a full sync must hold now: live rows by provider and unified table."""
        return self.world.counts()

    def add_fault(self, fault: Fault) -> None:
        """The fault comes after those that are there."""
        self._plan.add(fault)

    def clear_faults(self) -> None:
        """Nothing goes wrong any more, and no answer so far is given again."""
        self._plan.clear()
        self._given.clear()

    def reset_requests(self) -> None:
        """The record of requests is empty."""
        self.requests.clear()

    def reset(self) -> None:
        """As at the start: the world, the limits, the given faults; nothing was asked."""
        self.world.reset()
        self._limits.reset()
        self._plan.clear()
        for fault in self._faults:
            self._plan.add(fault)
        with self._lock:
            self._asked.clear()
        self.reset_requests()

    def _converse(self, connection: socket.socket, peer: str) -> None:
        converse(connection, lambda call: self._reply(call, peer), self._stopping)

    def _reply(self, call: Call, peer: str) -> Reply:
        if call.path.startswith(PREFIX):
            return administer(self, call, peer)
        vendor = vendor_of(call.path)
        if vendor is None:
            reply = reply_json(404, {"message": "no vendor has this path"})
        else:
            reply = _announcing(self._vendor_reply(vendor, call), (_date(self.world.now),))
        self.requests.append(_seen(call, reply, vendor))
        return replace(reply, wait=reply.wait + self._latency) if self._latency else reply

    def _vendor_reply(self, vendor: Vendor, call: Call) -> Reply:
        if call.method != "GET":
            return vendor.error(405, "")
        audience = vendor.audience(call.headers)
        if audience is None:
            return vendor.unauthorized(call.headers)
        free, announced = self._limits.admit(vendor.name, call.path)
        if not free:
            return _announcing(vendor.error(429, ""), announced)
        due = self._plan.due(vendor.name, call.target)
        for fault in due:
            if fault.kind == MUTATE:
                fault.arg(self.world)
        spoiling = [fault for fault in due if fault.kind != MUTATE]
        if spoiling and spoiling[0].kind == PREVIOUS and vendor.name in self._given:
            return self._given[vendor.name]
        spoiling = [fault for fault in spoiling if fault.kind != PREVIOUS]
        if spoiling:
            return self._answers.spoiled(vendor, call, audience, spoiling, self._clock())
        reply = self._answers.reply(vendor, call, audience, self._variant(call.target))
        self._given[vendor.name] = reply
        return _announcing(reply, announced)

    def _variant(self, target: str) -> int:
        with self._lock:
            asked = self._asked[target]
            self._asked[target] = asked + 1
        return asked % 2


def serve(
    port: int,
    *,
    host: str = "127.0.0.1",
    scenario: Path | None = None,
    sizes: Sizes | None = None,
    seed: int | None = None,
    ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """Serves until SIGTERM or Ctrl-C; tells `ready` once it listens.

    `sizes` and `seed` go before those of the scenario. In the main thread only.
    """
    said = read(scenario) if scenario else Scenario()
    world = World(said.seed if seed is None else seed, sizes or said.sizes)
    options: dict[str, Any] = {
        name: getattr(said, name) for name in ("faults", "latency", "rate_limits", "page_cap")
    }
    with _until_signalled() as ended, Sandbox(world, host=host, port=port, **options) as sandbox:
        if ready:
            ready(sandbox)
        ended.get()


@contextmanager
def _until_signalled() -> Iterator[SimpleQueue[int]]:
    """What SIGTERM and Ctrl-C are put into, even in a shell's background.

    An Event has a lock, which a signal must not meet.
    """
    ended: SimpleQueue[int] = SimpleQueue()
    before = {
        number: signal.signal(number, lambda caught, _frame: ended.put(caught))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seen(call: Call, reply: Reply, vendor: Vendor | None) -> Seen:
    path, _, query = without_keys(call.target, tuple(KEYS.values())).partition("?")
    return Seen(call.method, path, query, reply.status, vendor.name if vendor else "")


def _date(millis: int) -> tuple[str, str]:
    """The header that tells the vendors' time, in whole seconds, as theirs do."""
    return "Date", formatdate(millis / 1000, usegmt=True)


def _announcing(reply: Reply, headers: tuple[tuple[str, str], ...]) -> Reply:
    return replace(reply, headers=reply.headers + headers) if headers else reply
