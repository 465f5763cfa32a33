"""`etl prune`, `etl db vacuum`: what is old goes, when asked; the room is given back."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, terminal
from etl.cli.quiet import Quiet
from etl.json_text import iso_time

if TYPE_CHECKING:
    from etl.history.retention import PrunedRows

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("prune")(prune)


def prune(
    ctx: typer.Context,
    runs_older_than: Annotated[
        str | None,
        typer.Option(help="Runs and resolved rejects: 12w, 90d; default: runs_days as configured."),
    ] = None,
    history_older_than: Annotated[
        str | None,
        typer.Option(help="History too: 730d; default: history_days as configured, or never."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would go; keep all of it.")
    ] = False,
    as_json: AsJson = False,
    _quiet: Quiet = False,
) -> None:
    """Take away old runs that nothing rests on and resolved rejects; history only when asked.

    Of archives goes what is beyond their keep_days and keep_mb. Current records stay. Questions
    about the time before pruned history are refused from then on.
    """
    from etl.operations.sync import utc_now
    from etl.pipeline.run_archive import prune_archives

    now, settings = utc_now(), context.settings(ctx.obj)
    runs, history = settings.retention.runs, settings.retention.history
    before = now - runs if runs_older_than is None else _before(runs_older_than, now, "runs")
    past = None if history is None else now - history
    if history_older_than is not None:
        past = _before(history_older_than, now, "history")
    pruned = _prune_database(ctx.obj, now, before, past, dry_run=dry_run)
    archives = prune_archives(settings, now=now, dry_run=dry_run)
    if as_json:
        told = {"archives": {name: asdict(one) for name, one in archives.items()}}
        moments = _moments(before, past)
        print(json.dumps(asdict(pruned) | told | {"dry_run": dry_run} | moments))
        return
    _show(pruned, before, past, dry_run=dry_run)
    for name, one in archives.items():
        terminal.say(
            f"archive of {name}: {terminal.count(one.runs, 'run')} and "
            f"{terminal.count(one.pages, 'page')} {_verb(dry_run=dry_run)}, {one.size:,} bytes"
        )


def _prune_database(
    common: context.Common,
    now: datetime,
    before: datetime,
    past: datetime | None,
    *,
    dry_run: bool,
) -> "PrunedRows":
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.engine import store_error
    from etl.history import retention

    engine = context.database(common, make=False)
    try:
        with engine.connect() as connection:
            pruned = retention.prune(connection, now=now, runs_before=before, history_before=past)
            (connection.rollback if dry_run else connection.commit)()
    except SQLAlchemyError as error:
        raise store_error(error, "pruning") from error
    finally:
        engine.dispose()
    return pruned


def _before(text: str, now: datetime, what: str) -> datetime:
    return terminal.moment(text, now, f"--{what}-older-than")


def _moments(before: datetime, past: datetime | None) -> dict[str, Any]:
    return {
        "runs_before": iso_time(before),
        "history_before": None if past is None else iso_time(past),
    }


def _show(pruned: "PrunedRows", before: datetime, past: datetime | None, *, dry_run: bool) -> None:
    verb = _verb(dry_run=dry_run)
    terminal.say(
        f"before {terminal.time(before)} UTC: {terminal.count(pruned.runs, 'run')} and "
        f"{terminal.count(pruned.rejects, 'resolved reject')} {verb}"
    )
    if pruned.aborted:
        stale = terminal.count(pruned.aborted, "unended run")
        terminal.say(f"{stale} {'would be' if dry_run else 'was'} closed, the ledger emptied")
    if past is None:
        terminal.say("history is kept whole; --history-older-than takes away from it")
        return
    terminal.say(
        f"before {terminal.time(past)} UTC: {terminal.count(pruned.versions, 'closed version')} "
        f"and {terminal.count(pruned.changes, 'change')} {verb}; see `etl db vacuum`"
    )


def _verb(*, dry_run: bool) -> str:
    return "would go" if dry_run else "are gone"


def vacuum(ctx: typer.Context, as_json: AsJson = False, _quiet: Quiet = False) -> None:
    """Give back the room of what was deleted, and let the database plan anew."""
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.engine import store_error
    from etl.db.vacuum import vacuum as vacuum_all

    engine = context.database(ctx.obj, make=False)
    try:
        size = vacuum_all(engine)
    except SQLAlchemyError as error:
        raise store_error(error, "vacuuming") from error
    finally:
        engine.dispose()
    if as_json:
        print(json.dumps({"bytes_before": size.before, "bytes_after": size.after}))
    else:
        terminal.say(f"{size.before:,} bytes before, {size.after:,} after")
