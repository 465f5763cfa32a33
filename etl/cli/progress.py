"""Bars on a terminal while sources are read: how far each is, and how long it still takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from etl.cli import terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Drawn
    from rich.progress import Task, TaskID
    from rich.text import Text

    from etl.pipeline.crawl import Progress


STEP = 5  # seconds
ROOMY = 100  # columns, from which on there is room for more than the time left
BETWEEN = 0.1  # seconds from one picture to the next


@dataclass(slots=True)
class _Source:
    """One source's bars: of the whole run, and one a stream."""

    whole: "TaskID"
    expected: int
    seconds: float
    began: float
    streams: "dict[str, TaskID]" = field(default_factory=dict)


@dataclass(slots=True)
class Bars:
    """The bars of sources that are read at the same time. drawn: None where nobody watches."""

    drawn: "Drawn | None"
    clock: Callable[[], float]
    _sources: dict[str, _Source] = field(default_factory=dict)
    _next: float = 0.0

    def begin(self, source: str, expected: int, seconds: float = 0.0) -> None:
        """A bar for the whole run; it grows where it is known how many requests are expected.

        seconds: how long the rate limits will let them take at least.
        """
        if self.drawn is not None:
            whole = self.drawn.add_task(source, total=expected or None, of=source, got="")
            self._sources[source] = _Source(whole, expected, seconds, self.clock())
            self.drawn.start()

    def advance(self, source: str, step: "Progress") -> None:
        """A source is one step further."""
        if self.drawn is None:
            return
        of, drawn = self._sources[source], self.drawn
        if step.stream not in of.streams:
            title = f"{source} {step.stream}"
            task_id = drawn.add_task(title, of=source, records=0, pages=0, got="")
            of.streams[step.stream] = task_id
        task = next(task for task in drawn.tasks if task.id == of.streams[step.stream])
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
        far = min(step.requests, of.expected - 1) if of.expected else 0  # it is about so many
        now = self.clock()
        told = pace(step, of.expected, now - of.began, of.seconds)
        drawn.update(of.whole, completed=far, got=told)
        if not drawn.live.auto_refresh and now >= self._next:
            drawn.refresh()
            self._next = now + BETWEEN

    @contextmanager
    def ended(self, source: str) -> Iterator[None]:
        """A source's bars go; meanwhile lines can be printed, as the others are not there."""
        if self.drawn is None:
            yield
            return
        of, drawn = self._sources.pop(source), self.drawn
        for task in (of.whole, *of.streams.values()):
            drawn.remove_task(task)
        self._show(visible=False)  # rich would delete as many lines as there were bars
        drawn.stop()
        yield
        self._show(visible=True)
        if self._sources:
            drawn.start()

    def _show(self, *, visible: bool) -> None:
        for task in self.drawn.tasks if self.drawn else ():
            task.visible = visible


@contextmanager
def all_bars(
    *,
    quiet: bool,
    by_itself: bool = False,
    console: "Console" = terminal.err,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Bars]:
    """Bars for as many sources as begin; none where nobody watches.

    by_itself: they go on while nothing is told, by a thread; no process may be forked meanwhile.
    """
    if quiet or not console.is_terminal:
        yield Bars(None, clock)
        return
    from rich.progress import (
        BarColumn,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Drawn
    from rich.table import Column

    class Grouped(Drawn):
        """Bars of one source stand together."""

        def get_renderables(self) -> "Iterator[RenderableType]":
            yield self.make_tasks_table(sorted(self.tasks, key=lambda task: task.fields["of"]))

    class Cut(TextColumn):
        """A text that ends with … where there is no room for all of it."""

        def render(self, task: "Task") -> "Text":
            text = super().render(task)
            text.no_wrap, text.overflow = True, "ellipsis"
            return text

    bar = min(40, console.width // 8)
    columns: tuple[ProgressColumn, ...] = (
        SpinnerColumn(),
        Cut("{task.description}", table_column=Column(max_width=console.width // 4)),
        BarColumn(bar, table_column=Column(width=bar, no_wrap=True)),
        Cut("{task.fields[got]}", table_column=Column()),
    )
    if console.width >= ROOMY:
        columns += (TimeElapsedColumn(table_column=Column(no_wrap=True)),)
    drawn = Grouped(
        *columns,
        console=console,
        transient=True,
        auto_refresh=by_itself,
        redirect_stdout=by_itself,
        redirect_stderr=by_itself,
    )
    try:
        yield Bars(drawn, clock)
    finally:
        drawn.stop()


@contextmanager
def bars(
    source: str,
    expected: int,
    seconds: float = 0.0,
    *,
    quiet: bool,
    console: "Console" = terminal.err,
    clock: Callable[[], float] = time.monotonic,
) -> "Iterator[Callable[[Progress], None]]":
    """The bars of one source."""
    with all_bars(quiet=quiet, by_itself=True, console=console, clock=clock) as drawn:
        drawn.begin(source, expected, seconds)
        yield partial(drawn.advance, source)


def pace(step: "Progress", expected: int, elapsed: float, seconds: float = 0.0) -> str:
    """Requests so far, how long the expected ones still take, and waits so far.

    The time left is that of this pace, or what is left of the seconds that the rate limits ask for;
    in steps, as it is an estimate.
    """
    number = terminal.count(step.requests, "request")
    if expected > step.requests:
        number = f"{step.requests:,} of about {terminal.count(expected, 'request')}"
    waits = f" · waited {terminal.span(step.waited)}" if step.waited >= 1 else ""
    rest = ""
    if expected > step.requests:
        left = max(elapsed / max(1, step.requests) * (expected - step.requests), seconds - elapsed)
        rest = f" · {terminal.span(ceil(left / STEP) * STEP)} left" if left >= 1 else ""
    return f"{number}{rest}{waits}"
