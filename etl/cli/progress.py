"""Bars on a terminal while a source is read: how far it is, and how long it still takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etl.cli import terminal

if TYPE_CHECKING:
    from rich.console import Console

    from etl.survey import Progress


@contextmanager
def bars(
    source: str,
    expected: int,
    *,
    quiet: bool,
    console: "Console" = terminal.err,
    clock: Callable[[], float] = time.monotonic,
) -> "Iterator[Callable[[Progress], None]]":
    """A bar for the whole run, where it is known how many requests are expected, and one a stream.

    Nothing where nobody watches.
    """
    if quiet or not console.is_terminal:
        yield lambda _progress: None
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[got]}"),
        TimeElapsedColumn(),
    )
    tasks: dict[str, int] = {}
    began = clock()
    with Bars(*columns, console=console, transient=True) as drawn:
        whole = drawn.add_task(source, total=expected or None, got="")

        def advance(step: "Progress") -> None:
            if step.stream not in tasks:
                title = f"{source} {step.stream}"
                tasks[step.stream] = drawn.add_task(title, records=0, pages=0, got="")
            task = drawn.tasks[tasks[step.stream]]
            records = task.fields["records"] + step.records
            pages = task.fields["pages"] + step.pages
            drawn.update(
                task.id,
                advance=step.partitions_done,
                total=step.partitions or None,
                records=records,
                pages=pages,
                got=f"{terminal.count(records, 'record')} · {terminal.count(pages, 'page')}",
            )
            far = min(step.requests, expected - 1) if expected else 0  # it is about so many
            drawn.update(whole, completed=far, got=pace(step, expected, clock() - began))

        yield advance


def pace(step: "Progress", expected: int, elapsed: float) -> str:
    """Requests and waits so far; how long the expected ones still take at this pace."""
    number = terminal.count(step.requests, "request")
    if expected > step.requests:
        number = f"{step.requests:,} of about {terminal.count(expected, 'request')}"
    waits = f" · waited {terminal.span(step.waited)}" if step.waited >= 1 else ""
    left = elapsed / max(1, step.requests) * (expected - step.requests)
    rest = f" · {terminal.span(left)} left" if left >= 1 else ""
    return f"{number}{waits}{rest}"
