"""Thousands of random histories, as tests.support.histories plays them; writes docs/histories.md.

`python -m bench.histories 2000 --seed 1` (`make histories N=2000`) plays so many histories on
all processors, prints the figures, writes docs/histories.md, and exits with 1 when a promise was
broken. `--only 17` plays one of them again and tells what happened
(where several threads ask, their requests may come in another order).
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.support.histories import Tally, played, some

PAGE = Path("docs/histories.md")
WORTH_A_PAGE = 2000  # histories; fewer only print
PART = 20  # histories that a process plays at one go

PROMISES = ("false deletion", "wrong place", "missed record", "false freshness", "error")


def page(found: Tally, seed: int, seconds: float) -> str:
    """The figures, as docs/histories.md."""
    lines = [
        "# Random histories",
        "",
        "Random histories through the real pipeline over the sandbox, each compared with the",
        "simulator's truth after every run: what a vendor can do between two requests, what can",
        "happen to an answer on its way, processes that die, clocks that jump. `make histories`",
        "plays them and writes this page, `python -m bench.histories --only NUMBER` plays",
        "one again and tells each step. tests/support/histories.py says what is counted.",
        "",
        "| what | measured |",
        "|---|---|",
        f"| histories | {found.histories}, numbers {seed} to {seed + found.histories - 1} |",
        f"| seconds, on {os.cpu_count()} cores | {seconds:.0f} |",
        *(f"| {name} | {found.what[name]} |" for name in PROMISES),
        *(
            f"| {name} | {many} |"
            for name, many in sorted(found.what.items())
            if name not in PROMISES
        ),
    ]
    return "\n".join(lines) + "\n"


def all_of(seeds: range, until: float) -> Tally:
    """The histories, on all processors; those that have begun by that moment."""
    found = Tally()
    parts = [seeds[place : place + PART] for place in range(0, len(seeds), PART)]
    with ProcessPoolExecutor() as pool:
        for number, part in enumerate(pool.map(some, parts), 1):
            found.add(part)
            for one in part.broken:
                print(one, flush=True)
            print(f"{number} of {len(parts)} parts", file=sys.stderr, flush=True)
            if time.monotonic() > until:
                pool.shutdown(cancel_futures=True)
                break
    return found


def main() -> int:
    """Plays them; 1 when a promise was broken."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("histories", type=int, nargs="?", default=2000)
    asked.add_argument("--seed", type=int, default=1, help="the number of the first one")
    asked.add_argument("--minutes", type=float, default=60.0, help="none begins after so many")
    asked.add_argument("--only", type=int, help="plays this one and tells what happens")
    said = asked.parse_args()
    if said.only is not None:
        return 1 if played(said.only, partial(print, flush=True)).broken else 0
    began = time.monotonic()
    seeds = range(said.seed, said.seed + said.histories)
    found = all_of(seeds, began + 60 * said.minutes)
    figures = page(found, said.seed, time.monotonic() - began)
    print(figures)
    if said.histories >= WORTH_A_PAGE and not found.broken:
        PAGE.write_text(figures)
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
