"""`etl backfill --from-archive DIR`: loads dumps in the order of time."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl.cli import terminal
from etl.model import RunReport, as_json, exit_code_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.archive.reader import Dump
    from etl.config.settings import Settings
    from etl.operations.sync import RunOptions
    from etl.reprocess.replay_archive import Load


def load_dumps(
    engine: "Engine",
    settings: "Settings",
    source: str,
    folder: Path,
    wish: "RunOptions",
    *,
    quiet: bool,
) -> int:
    """The exit code of all of them."""
    from etl.reprocess.replay_archive import load_archive, plan_load

    planned = plan_load(engine, settings, source, folder)
    if not quiet:
        _announce(planned)
    documents: list[dict[str, Any]] = []
    reports: list[RunReport] = []
    try:
        for dump, report in load_archive(engine, settings, planned, wish):
            reports.append(report)
            documents.append({"dump": dump.name, "at": dump.at.isoformat(), **as_json(report)})
            if not quiet:
                _show(dump, report)
    finally:
        if quiet:
            rest = {"known": planned.known, "left_out": list(planned.left_out)}
            print(json.dumps({"runs": documents, **rest}))
    return exit_code_of(reports)


def _announce(planned: "Load") -> None:
    for reason in planned.left_out:
        terminal.complain(f"left out: {reason}")
    known = f"; {planned.known:,} known already" if planned.known else ""
    dumps, name = planned.dumps, planned.source
    if not dumps:
        terminal.say(f"{name}: no dump to load{known}")
        return
    first, last = (terminal.time(dump.at) for dump in (dumps[0], dumps[-1]))
    number = terminal.count(len(dumps), "dump")
    terminal.say(f"{name}: {number} from {first} to {last} UTC{known}")


def _show(dump: "Dump", report: RunReport) -> None:
    changes = terminal.count(report.changed, "change") if report.changed else "nothing changed"
    terminal.say(
        f"{terminal.time(dump.at)}: {report.status}, {changes} (run {report.run_id})",
        style=terminal.COLOURS.get(report.status, ""),
    )
    if report.error:
        terminal.complain(f"  {dump.name}: {report.error}")
    for stream in report.streams:
        if stream.incomplete_reason and not report.error:
            terminal.complain(f"  {stream.stream} not complete: {stream.incomplete_reason}")
