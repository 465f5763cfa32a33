"""`etl source`: the sources that are configured or stored; rename one, or forget all of it."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, terminal
from etl.cli.lookup import named_source
from etl.errors import ConfigError, StoreError
from etl.json_text import iso_time

if TYPE_CHECKING:
    from etl.config.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

source = typer.Typer(help="The sources: list, rename, forget.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.add_typer(source, name="source")


@source.command("list")
def list_sources(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the sources: configured or not, last run, live records."""
    from etl.history.sources import known

    settings = context.settings(ctx.obj)
    with context.reading(ctx.obj, absent=True) as connection:
        stored = {one.name: one for one in known(connection)}
    rows: list[dict[str, Any]] = []
    for name in sorted({*stored, *settings.sources}):
        configured, last = settings.sources.get(name), stored.get(name)
        rows.append(
            {
                "source": name,
                "provider": configured.provider if configured else last and last.provider,
                "configured": configured is not None,
                "last_run_id": last and last.last_run_id,
                "last_run_at": last and iso_time(last.last_run_at),
                "last_status": last and last.last_status,
                "records": dict(last.records) if last else {},
            }
        )
    if as_json:
        print(json.dumps(rows))
        return
    columns = ("source", "provider", "configured", "run#", "last run (UTC)", "state", "records#")
    lines = [
        (
            row["source"],
            row["provider"],
            "yes" if row["configured"] else "not configured",
            row["last_run_id"],
            terminal.time(last.last_run_at) if (last := stored.get(row["source"])) else "never",
            row["last_status"],
            sum(row["records"].values()),
        )
        for row in rows
    ]
    if lines:
        terminal.out.print(terminal.table(columns, lines))
    else:
        terminal.say("no source is configured or stored; `etl init` writes a configuration")


@source.command()
def rename(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(help="The name in the database.")],
    new: Annotated[str, typer.Argument(help="The new name.")],
) -> None:
    """Rename a source in every table, and its folder in the archive; in one transaction."""
    from etl.history import sources

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", new):
        raise ConfigError(f"{new!r}: a name of a source is 1 to 64 of A-Z a-z 0-9 . _ -")
    settings = context.settings(ctx.obj)
    with context.writing(ctx.obj, "renaming a source") as connection:
        stored = [one.name for one in sources.known(connection)]
        named_source(old, stored)
        if new in stored:
            raise ConfigError(f"there are rows of a source {new} already; choose another name")
        with _held(connection, (old, new)):
            rows = sources.rename(connection, old, new)
            moved = _move_archive(settings, old, new)
    terminal.say(f"{old} is now {new}: {terminal.count(rows, 'row')} renamed")
    for folder in moved:
        terminal.say(f"its archive is now {folder}")
    if new not in settings.sources:
        terminal.say(f"next: rename [sources.{old}] to [sources.{new}] in {settings.path}")


def _move_archive(settings: "Settings", old: str, new: str) -> list[Path]:
    """Moves the archive of the source, where the configuration of either name has one."""
    configured = settings.sources.get(new) or settings.sources.get(old)
    if configured is None or configured.archive is None:
        return []
    folder = configured.archive.folder.with_name(old)
    target = folder.with_name(new)
    if not folder.is_dir():
        return []
    if target.exists():
        raise ConfigError(f"{target} exists already; move it away first")
    try:
        folder.rename(target)
    except OSError as error:
        raise StoreError(f"{folder} cannot be renamed: {error.strerror}") from error
    return [target]


@source.command()
def forget(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The name in the database.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted; delete nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete everything stored of a source: records, history, changes, runs; its archive stays."""
    from etl.history import sources

    settings = context.settings(ctx.obj)
    with context.writing(ctx.obj, "forgetting a source", dry_run=dry_run) as connection:
        named_source(name, [one.name for one in sources.known(connection)])
        if not (yes or dry_run):
            connection.rollback()  # nobody waits while a person thinks
            _confirm(name)
        with nullcontext() if dry_run else _held(connection, (name,)):
            counts = sources.forget(connection, name)
    if as_json:
        print(json.dumps({"source": name, "dry_run": dry_run, "deleted": dict(counts)}))
        return
    verb = "would be deleted" if dry_run else "deleted"
    terminal.say(f"{name}: {', '.join(_told(counts)) or 'nothing'} {verb}")
    if name in settings.sources:
        terminal.say(f"{name} is still configured: the next sync reads it again")


def _told(counts: Mapping[str, int]) -> Iterable[str]:
    for table in ("projects", "environments", "layers", "changes", "runs", "rejects"):
        if number := counts[table]:
            yield terminal.count(number, table.removesuffix("s"))
    if versions := sum(counts[f"{one}_history"] for one in ("project", "environment", "layer")):
        yield terminal.count(versions, "closed version")


def _confirm(name: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(f"everything stored of {name} would be deleted; confirm with --yes")
    typer.confirm(f"Delete everything stored of {name}?", abort=True)


def _held(connection: Any, names: tuple[str, ...]) -> Any:
    from etl.history.sources import held
    from etl.operations.sync import utc_now
    from etl.pipeline.live_processes import lives, this_process

    return held(connection, names, this_process(), utc_now(), lives)
