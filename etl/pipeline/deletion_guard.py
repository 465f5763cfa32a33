"""Whether a run's deletions are safe to make. Pure.

A list that came empty or short, or a key that sees less than before, looks like a mass deletion.
Above the limits nothing is deleted until a person says that it is true.
"""

from dataclasses import dataclass

from etl.errors import UnsafeChange


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteLimits:
    """Deletions are held back above `percent` of a stream and above `count` records."""

    percent: float = 20.0
    count: int = 10


def raise_if_unsafe(
    where: str, *, stream: str, deleted: int, stored: int, limits: DeleteLimits
) -> None:
    """Raises UnsafeChange when a stream would be emptied or lose more than the limits allow."""
    emptied = 0 < stored == deleted
    share = 100 * deleted / stored if stored else 0.0
    if not emptied and not (deleted > limits.count and share > limits.percent):
        return
    much = f"{deleted} of {stored} {stream}"
    limit = (
        f"{share:.0f} %; the limit is {limits.percent:.0f} % and more than {limits.count}, "
        "and never all"
    )
    raise UnsafeChange(
        f"would delete {much} of {where} ({limit}); nothing of it was deleted; "
        f"`etl plan {where} --out FILE` shows each with its evidence, then `etl apply FILE` "
        "deletes them (or `etl sync --force-deletes`, without a look)",
        much=f"{much} ({limit})",
        stream=stream,
        deleted=deleted,
        stored=stored,
    )
