"""Scripted faults: which requests they hit, and in what order.

Of the faults that are due, all `mutate` run; of the others the first one decides. Faults in a
page's content (fault_pages) add up when they are due together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

from etl.sandbox.fault_answers import ANSWERS
from etl.sandbox.fault_bodies import BODIES
from etl.sandbox.fault_pages import NEXT_FORMS, PAGES
from etl.sandbox.values import STREAMS

MUTATE = "mutate"
PREVIOUS = "previous"  # the answer before this one, to whatever request, is given once more
KINDS = frozenset({*ANSWERS, *BODIES, *PAGES, MUTATE, PREVIOUS})
NEEDS_ARG = frozenset({"status", "slow", "stall", "huge", "gzip_bomb", "redirect", "next_foreign"})
NEEDS_ARG |= {"patch", "patch_page", "garble", "charset", "behind"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in some answers; see KINDS.

    match   a vendor's name, or that and a glob on the path with its query
    after   so many matching requests pass first, whatever else hits them
    times   so many are hit; None: all
    """

    match: str
    kind: str
    after: int = 0
    times: int | None = 1
    arg: Any = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(sorted(KINDS))}")
        if self.match.partition(" ")[0] not in STREAMS:
            raise ValueError(f"match {self.match!r} must begin with {', '.join(STREAMS)}")
        if self.kind in NEEDS_ARG and self.arg is None:
            raise ValueError(f"fault {self.kind!r} needs an arg")
        if self.kind == "nextpage_form" and self.arg not in NEXT_FORMS:
            raise ValueError(f"the arg of nextpage_form is one of {', '.join(NEXT_FORMS)}")
        if self.kind == MUTATE and not callable(self.arg):
            raise ValueError("the arg of mutate is a function that takes the World")

    def matches(self, vendor: str, target: str) -> bool:
        """Whether it is about this request."""
        name, _, glob = self.match.partition(" ")
        return name == vendor and (not glob or fnmatchcase(target, glob))


class Plan:
    """The faults of a sandbox, and how often each one was passed and has hit."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._lock = Lock()
        self._scripts = [_Script(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """The fault waits behind the others."""
        with self._lock:
            self._scripts.append(_Script(fault))

    def clear(self) -> None:
        """There are no faults."""
        with self._lock:
            self._scripts.clear()

    def due(self, vendor: str, target: str) -> tuple[Fault, ...]:
        """The faults that hit this request; counted as done."""
        if not self._scripts:
            return ()
        with self._lock:
            due = [script for script in self._scripts if script.notice(vendor, target)]
            mutating = [script for script in due if script.fault.kind == MUTATE]
            chosen = mutating + _together([one for one in due if one.fault.kind != MUTATE])
            for script in chosen:
                script.hits += 1
            return tuple(script.fault for script in chosen)


@dataclass(slots=True)
class _Script:
    fault: Fault
    noticed: int = 0
    hits: int = 0

    def notice(self, vendor: str, target: str) -> bool:
        """Counts the request if it matches; whether the fault is due."""
        if not self.fault.matches(vendor, target):
            return False
        self.noticed += 1
        left = self.fault.times is None or self.hits < self.fault.times
        return self.noticed > self.fault.after and left


def _together(due: Sequence[_Script]) -> list[_Script]:
    """The first one, and when it is about the content of the page, the others that are."""
    shaping = [script for script in due if script.fault.kind in PAGES]
    return shaping if due and due[0].fault.kind in PAGES else list(due[:1])
