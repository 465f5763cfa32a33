"""What an audit of the database tells: violations, summed up in one finding a check. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is not as promised: where, and what. harmless: worth telling, no failure."""

    where: str
    what: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one check ended: how many violations, a few of them, what to do about them.

    notes: the same of what is no violation but worth telling; noted: how many there are.
    """

    check: str
    promise: str
    count: int
    examples: tuple[str, ...]
    remedy: str
    noted: int = 0
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the promise holds."""
        return self.count == 0


def finding(check: str, promise: str, remedy: str, violations: Iterable[Violation]) -> Finding:
    """The violations of one check, counted; only the first few are kept."""
    counts = {True: 0, False: 0}
    first: dict[bool, list[str]] = {True: [], False: []}
    for violation in violations:
        counts[violation.harmless] += 1
        if counts[violation.harmless] <= MAX_EXAMPLES:
            first[violation.harmless].append(str(violation))
    return Finding(
        check=check,
        promise=promise,
        count=counts[False],
        examples=tuple(first[False]),
        remedy=remedy,
        noted=counts[True],
        notes=tuple(first[True]),
    )
