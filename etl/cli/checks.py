"""`etl audit`, `etl rejects`, `etl drift`: what does not hold, was rejected or changed shape."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, lookup, terminal
from etl.cli.changes import SourceArgument, SourceOption
from etl.cli.quiet import Quiet
from etl.cli.terminal import BAD, GOOD, out
from etl.errors import FAILED, PARTIAL
from etl.json_text import iso_time

if TYPE_CHECKING:
    from etl.audit.findings import Finding
    from etl.history.quarantine import Drift, Quarantined
    from etl.model import Reject

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(audit)
    app.command()(rejects)
    app.command()(drift)


def audit(ctx: typer.Context, as_json: AsJson = False, _quiet: Quiet = False) -> None:
    """Checks every invariant of the database, reads only; exit 1 when one does not hold."""
    from etl.audit.checks import findings

    found = []
    with context.reading(ctx.obj) as connection:
        for finding in findings(connection):
            found.append(finding)
            if not as_json:
                _write_finding(finding)
    bad = [finding for finding in found if not finding.ok]
    if as_json:
        print(json.dumps([{"ok": one.ok, **asdict(one)} for one in found]))
    elif not bad:
        terminal.say(f"all {len(found)} checks hold")
    if bad:
        terminal.complain(f"etl: {len(bad)} of {len(found)} checks do not hold")
        raise typer.Exit(FAILED)


def _write_finding(finding: "Finding") -> None:
    """One line; under a broken promise some examples and the way out."""
    if finding.ok:
        terminal.say(f"ok   {finding.check}: {finding.promise}", style=GOOD)
    else:
        number = terminal.count(finding.count, "violation")
        terminal.say(f"BAD  {finding.check}: {number} of: {finding.promise}", style=BAD)
        for example in finding.examples:
            terminal.say("      ", example)
        _write_rest(finding.count, finding.examples)
        terminal.say("       to repair:", finding.remedy)
    for note in finding.notes:
        terminal.say("       note:", note)
    _write_rest(finding.noted, finding.notes)


def _write_rest(number: int, shown: tuple[str, ...]) -> None:
    if number > len(shown):
        terminal.say(f"       and {number - len(shown):,} more")


def rejects(
    ctx: typer.Context,
    source_: SourceArgument = None,
    source: SourceOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Those that were resolved, too.")
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Would today's code take them? Exit 5 if not all.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Items that fit no known shape and are kept aside, with where and why."""
    from etl.history import quarantine

    source = lookup.one_source(source_, source)
    documents: list[dict[str, Any]] = []
    lines: list[dict[str, object]] = []
    refused = 0
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        for item in quarantine.quarantined(connection, source, resolved=everything):
            tried = {"again": quarantine.replay(item)} if replay else {}
            refused += tried.get("again") is not None
            if as_json:
                documents.append(_item_json(item, **tried))
            else:
                lines.append(_item_line(item, everything=everything, **tried))
    if as_json:
        print(json.dumps(documents))
    else:
        _write_table(lines, "no quarantined item")
        if replay and lines:
            _write_replay(len(lines), refused)
    if refused:
        raise typer.Exit(PARTIAL)


_NOT_TRIED: Any = object()


def _item_line(
    item: "Quarantined", *, everything: bool, again: "Reject | None" = _NOT_TRIED
) -> dict[str, object]:
    line: dict[str, object] = {
        "source": item.source,
        "stream": item.stream,
        "project": item.project_key or item.parent_id,
        "item": item.external_id or "(no id)",
        "path": item.path,
        "reason": item.reason,
        "first seen (UTC)": terminal.time(item.first_seen_at),
        "last seen (UTC)": terminal.time(item.last_seen_at),
    }
    if everything:
        line["resolved (UTC)"] = terminal.time(item.resolved_at)
    if again is not _NOT_TRIED:
        line["today"] = "accepted" if again is None else f"{again.path} {again.reason}".strip()
    return line


def _item_json(item: "Quarantined", *, again: "Reject | None" = _NOT_TRIED) -> dict[str, Any]:
    document = {name: _plain(value) for name, value in asdict(item).items()}
    if again is not _NOT_TRIED:
        document["accepted_now"] = again is None
        document["rejected_now"] = again and {"path": again.path, "reason": again.reason}
    return document


def _write_replay(total: int, refused: int) -> None:
    terminal.say(
        f"{total - refused} of {terminal.count(total, 'item')} would be accepted by this code. "
        "Nothing was written: the next `etl sync` stores them, if the vendor still sends them."
    )


def drift(
    ctx: typer.Context,
    source_: SourceArgument = None,
    source: SourceOption = None,
    since: Annotated[
        str | None, typer.Option(help="Only first seen since: 7d, 12h, 30min ago, or a time.")
    ] = None,
    as_json: AsJson = False,
    _quiet: Quiet = False,
) -> None:
    """What the vendors changed in the shape of their records; exit 1 when there is any."""
    from etl.history import quarantine
    from etl.operations.sync import utc_now

    source = lookup.one_source(source_, source)
    after = None if since is None else terminal.moment(since, utc_now())
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        asked = quarantine.DriftAsked(source=source, since=after)
        found, _ = quarantine.drift(connection, asked)
    found.sort(key=lambda one: (one.source, one.stream, one.path, one.kind))
    if as_json:
        documents = [{k: _plain(value) for k, value in asdict(one).items()} for one in found]
        print(json.dumps(documents))
    else:
        _write_table([_drift_line(one) for one in found], "no drift")
    if found:
        raise typer.Exit(FAILED)


def _drift_line(one: "Drift") -> dict[str, object]:
    return {
        "source": one.source,
        "stream": one.stream,
        "path": one.path,
        "what": one.kind,
        "type": one.type,
        "records#": one.records,
        "first seen (UTC)": terminal.time(one.first_seen_at),
        "last seen (UTC)": terminal.time(one.last_seen_at),
    }


def _write_table(lines: list[dict[str, object]], none: str) -> None:
    if lines:
        out.print(terminal.table(list(lines[0]), (list(line.values()) for line in lines)))
    else:
        terminal.say(none)


def _plain(value: Any) -> Any:
    return iso_time(value) if isinstance(value, datetime) else value
