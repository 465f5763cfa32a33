"""docs/benchmarks.md and its chart, made of what was measured: tables, targets met or not, why."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PHASES = ("initial", "unchanged", "1 % changed")
KINDS = ("SQLite", "Postgres")
Results = Mapping[str, Any]

HEAD = """# Benchmarks

Written by `make bench`; change `bench/page.py`, not this page. Every figure of a table is the
median of its rounds, the contestants take turns, and all read the same bytes from the same server
process on loopback. A process is measured from its start to its end, with all its imports.

- **floor**: a script (`bench/floor.py`) with one synchronous httpx client: fetch, parse, hash,
  and write what is new into one table, in one transaction. No history, no events, no child rows, no
  checkpoints, no proofs, no deletions. *bare socket* is the same without httpx, for information.
- **dlt**: its rest_api source (`bench/peer.py`) with parquet files, nested values kept as JSON
  (so without rows for reservations and parameters), projects fetched side by side, no telemetry.
  *merge* keeps one row a record, *scd2* keeps history, *child rows* is a merge with the tables that dlt
  makes of lists inside of records (reservations, which are not in a list, become columns). It does not
  notice deletions with a merge.
- **etl**: `etl sync` of three sources, side by side in a process a processor, as it is by default;
  *one process* is `--concurrency 1`. For each record it writes the row, its child rows, an event.

Medium is 500 LaunchDarkly projects with 3 environments × 100 layers, 20,000 Statsig layers and 20,000
Layers.com projects; small is a fiftieth of that; large is 2,000 × 500 = 1,000,000 layers and the rest
as medium. *1 % changed*: one record in 100 has another name, one in 1,000 is gone; they are spread
evenly over all pages. CPU and memory are those of the client, not of PostgreSQL; of several processes,
the sum, with what they share counted once. The PostgreSQL is one of the tests: without fsync, for everyone.
dlt has two processes for normalising and files of 100,000 rows at large, where they save a sixth of a first
load; at medium they cost more than they saved.
"""


def write(results: Results, folder: Path) -> str:
    """Writes the page and its chart; -> what a terminal shows of it: the tables and the targets."""
    targets = list(targets_of(results))
    parts, tables = [HEAD, _about(results), _targets(targets)], []
    for size, found in results["sizes"].items():
        tables.append(f"## {size.capitalize()}\n\n{_size(found)}")
        parts.append(tables[-1])
        if size == "medium":
            parts.append("![wall seconds, medium](benchmarks.svg)\n")
            (folder / "benchmarks.svg").write_text(chart(found["costs"]))
    if "profile" in results:
        parts.append(_profile(results["profile"], results["sizes"]["medium"]["costs"]))
    (folder / "benchmarks.md").write_text("\n".join(parts))
    shown = [f"{mark:14} {what}: {figure}" for what, figure, mark in targets]
    return "\n".join([*tables, "", *shown, "", f"written: {folder / 'benchmarks.md'}"])


def targets_of(results: Results) -> Iterator[tuple[str, str, str]]:
    """(target, what was measured, met or not met)."""
    sizes = results["sizes"]
    for kind in KINDS if "medium" in sizes else ():
        yield from _against(sizes["medium"]["costs"], kind)
    if "large" in sizes and "medium" in sizes:
        yield from _large(sizes["large"]["costs"], sizes["medium"]["costs"])
    starts, slow = results["starts"], results["latency"]
    yield _judged("cold start of `etl --help`, ms", starts["help"] * 1000, 300)
    yield _judged("cold start of a sync of nothing, ms", starts["sync"] * 1000, 700)
    what = f"100 ms a response, {slow['requests']} requests: wall / (requests × latency / allowed)"
    yield _judged(what, slow["wall"] / slow["ideal"], 1.3)
    told = f"{slow['abreast']:.1f} s; {slow['wall']:.1f} s one after the other"
    yield "the same, sources side by side", told, "for comparison"


def _against(costs: Results, kind: str) -> Iterator[tuple[str, str, str]]:
    ours, floor = costs[f"etl, {kind}"], costs[f"floor, {kind}"]
    peers = [
        found
        for label, found in costs.items()
        if label.startswith("dlt") and kind in label and all(phase in found for phase in PHASES)
    ]
    for phase, most, least in (("initial", 2.0, 4.0), ("unchanged", 1.7, 7.0)):
        wall = ours[phase]["wall"]
        yield _judged(f"{kind}, {phase}: wall / floor's", wall / floor[phase]["wall"], most)
        if peers:
            best = min(found[phase]["wall"] for found in peers)
            yield _judged(
                f"{kind}, {phase}: dlt's best wall / ours", best / wall, least, least=True
            )
            reach = best / floor[phase]["wall"]
            yield (
                f"{kind}, {phase}: dlt's best wall / the floor's",
                f"{reach:,.2f}",
                "for comparison",
            )
    ratio = ours["1 % changed"]["wall"] / ours["unchanged"]["wall"]
    yield _judged(f"{kind}, 1 % changed: wall / unchanged", ratio, 1.2)
    asks = ours["unchanged"]["requests"] / floor["unchanged"]["requests"]
    yield _judged(f"{kind}, unchanged: requests / floor's", asks, 1.02)
    if kind == "Postgres":
        wal = ours["unchanged"]["written"] / 1024
        yield _judged("Postgres, unchanged: KB of WAL", wal, 64)
        rows = ours["unchanged"]["rows"]
        yield _judged("Postgres, unchanged: rows but those of the run itself", rows, 0)


def _large(large: Results, medium: Results) -> Iterator[tuple[str, str, str]]:
    for kind in KINDS:
        big, middle = (costs[f"etl, {kind}"]["initial"] for costs in (large, medium))
        more = big["memory"] / middle["memory"]
        yield _judged(f"{kind}, large: peak memory / medium's", more, 1.5)
        yield _judged(f"{kind}, large: peak memory, MB", big["memory"], 200)
        yield _judged(f"{kind}, large: wall / medium's", big["wall"] / middle["wall"], 22)


def _judged(what: str, figure: float, limit: float, *, least: bool = False) -> tuple[str, str, str]:
    met = figure >= limit if least else figure <= limit
    shown = f"{figure:,.2f}" if figure < 20 else f"{figure:,.0f}"
    return what, f"{shown} (at {'least' if least else 'most'} {limit:g})", _MARKS[met]


_MARKS = {True: "met", False: "not met"}
_BOLD = {"not met": "**not met**"}


def _about(results: Results) -> str:
    told = "".join(f"| {name} | {value} |\n" for name, value in results["machine"].items())
    measured = ", ".join(
        f"{size} {found['at']} ({found['rounds']} rounds)"
        for size, found in results["sizes"].items()
    )
    return f"## Where and with what\n\n| | |\n|---|---|\n{told}| measured | {measured} |\n"


def _targets(targets: Sequence[tuple[str, str, str]]) -> str:
    rows = "".join(
        f"| {what} | {figure} | {_BOLD.get(mark, mark)} |\n" for what, figure, mark in targets
    )
    return f"## Targets\n\n| target | measured | |\n|---|---|---|\n{rows}"


def _size(found: Results) -> str:
    speed = found["server"]
    server = (
        f"The server alone: {speed['requests']:,.0f} responses/s, {speed['megabytes']:,.0f} MB/s "
        "to one bare client."
    )
    head = "| | wall s | / floor | CPU s | MB | requests | MB written | rows |\n"
    tables = [server + "\n"]
    for phase in PHASES:
        rows = "".join(_row(label, phase, found["costs"]) for label in found["costs"])
        tables.append(f"**{phase}**\n\n{head}|---|--:|--:|--:|--:|--:|--:|--:|\n{rows}")
    return "\n".join(tables) + (
        "\nMB written: WAL on Postgres; on SQLite all that the process wrote to files. Rows: inserted, "
        "updated, deleted and staged ones, without etl's tables of runs; SQLite does not count them.\n"
    )


def _row(label: str, phase: str, costs: Results) -> str:
    if phase not in costs[label]:
        return f"| {label} | failed, or took too long | | | | | | |\n"
    cost = costs[label][phase]
    floor = costs[f"floor, {label.rpartition(', ')[2]}"][phase]["wall"]
    rows = "" if cost["rows"] is None else f"{cost['rows']:,.0f}"
    return (
        f"| {label} | {cost['wall']:.2f} | {cost['wall'] / floor:.1f} | {cost['cpu']:.2f} "
        f"| {cost['memory']:.0f} | {cost['requests']:,.0f} | {cost['written'] / 1e6:.1f} | {rows} |\n"
    )


def _profile(found: Mapping[str, Mapping[str, float]], costs: Results) -> str:
    phases = list(found)
    lines = "".join(
        f"| {stage} | " + " | ".join(f"{found[phase][stage]:.0%}" for phase in phases) + " |\n"
        for stage in found[phases[0]]
    )
    head = f"| | {' | '.join(phases)} |\n|---|{'--:|' * len(phases)}\n"
    database = found["initial"][next(iter(found["initial"]))]
    alone, floor = (
        costs[f"{name}, SQLite"]["initial"]["wall"] for name in ("etl, one process", "floor")
    )
    free = (1 - database) * alone / floor
    return f"## Where the time goes\n\n{WHY.format(free=free)}\n{head}{lines}"


WHY = """Shares of the profiled time of etl in one process, medium, on SQLite but for the last column (a profiler
makes calls dearer than they are). Side by side, LaunchDarkly is more than half of the work and has one processor; the two other
sources share the second one.

**A first load.** The floor writes one row a record, dlt as it is set here too. etl writes six rows a
record: it is staged, so that a kill loses nothing, and then merged, so that readers see whole runs only;
so are its reservations or parameters; and each gets an event in the change feed. The tables have the
indexes that reports and the diff use. Writing these is the largest share below; validating every item and
making its columns, which neither the floor nor dlt does, is the next. No share alone would bring a first load
near two times the floor: with a database that took no time at all, one process would still take {free:.1f} times as
long. On Postgres the foreign keys cost as well: a first load of 250,000 layers took 26.1 s, without those that
name a run 22.8 s, without any 20.3 s (once, by hand). They stay.

**A run that finds nothing new.** etl and the floor do the same: fetch, parse, hash, compare. What etl adds is that
the JSON is strict (duplicate keys, depth), that it is searched for keys to blot out, that lists without order
are brought into one, and that completeness is counted and proved; and a third of a second of imports.

**1 % changed.** A list without a total and without overlap (Layers.com) from which something is missing is walked
twice, and each record that is missing is asked for by itself before it is taken for deleted: more requests, not more time
a request. Of the second walk only the pages that differ are read; asking for them is what it costs.

**Against dlt.** When the targets were set, dlt took 17 to 20 s for every phase of medium. dlt 1.31 with these settings
takes less: it keeps reservations and parameters inside JSON, a row a record. It writes every record in every run.
*dlt's best wall / the floor's* shows what the targets ask today: where it is below the target, the floor itself, which
does nothing but fetch, compare and write, would miss it, and so would anything that fetches with httpx.
At large dlt's first load is the quicker one: it uses both processors there, and writes a row a layer where etl writes nine. From
the second run on etl is, as it writes only what changed.
"""

WIDTH, BAR, LEFT = 760, 16, 190


def chart(costs: Results) -> str:
    """Wall seconds of all phases as bars, one group a phase."""
    labels = [
        label
        for label, found in costs.items()
        if "bare" not in label and all(phase in found for phase in PHASES)
    ]
    longest = max(costs[label][phase]["wall"] for label in labels for phase in PHASES)
    height = len(PHASES) * (len(labels) * BAR + 40) + 10
    drawn = list(_bars(costs, labels, (WIDTH - LEFT - 70) / longest))
    style = "font-family:sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="wall seconds by phase" style="{style}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(drawn)}</svg>\n'
    )


def _bars(costs: Results, labels: Sequence[str], scale: float) -> Iterator[str]:
    y = 24
    for phase in PHASES:
        yield f'<text x="8" y="{y}" font-weight="bold">{phase}, wall seconds</text>'
        y += 8
        for label in labels:
            wall = costs[label][phase]["wall"]
            length = max(1.0, wall * scale)
            colour = next(tint for name, tint in _TINTS.items() if label.startswith(name))
            yield f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{label}</text>'
            yield (
                f'<rect x="{LEFT}" y="{y + 2}" width="{length:.0f}" height="{BAR - 4}" '
                f'fill="{colour}"/><text x="{LEFT + length + 6:.0f}" y="{y + 12}">{wall:.1f}</text>'
            )
            y += BAR
        y += 32


_TINTS = {"etl": "#0b6e4f", "floor": "#8a8f98", "dlt": "#c2571a"}
