"""`etl init`, `etl check`, `etl db`: the configuration file, what works, the schema."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli import context, lookup, prune, terminal
from etl.cli.quiet import Quiet
from etl.cli.terminal import out
from etl.errors import OK, ConfigError, EtlError, SchemaOutOfDate

if TYPE_CHECKING:
    from etl.operations.check import CheckResult

database = typer.Typer(help="The database: upgrade, current, check, vacuum.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(init)
    app.command()(check)
    database.command()(prune.vacuum)
    app.add_typer(database, name="db")


def init(
    ctx: typer.Context,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="Only a source of launchdarkly, statsig or layers; may be repeated."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration, config/etl.toml, and its JSON Schema for editors.

    A file that is as it was written, unedited, is written again; one that was edited is kept.
    """
    from etl.config.settings import DEFAULT_PATH, example, json_schema
    from etl.files import whole_file
    from etl.providers import PROVIDERS

    path: Path = ctx.obj.config or DEFAULT_PATH
    wanted = [lookup.one_of(name, PROVIDERS, what="provider") for name in provider or PROVIDERS]
    if path.exists() and not force and not _is_unedited(path):
        raise ConfigError(
            f"{path} is there already, and was edited; go on with `etl check`, "
            "or replace it with `etl init --force`"
        )
    schema = path.parent / "etl.schema.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for place, text in (
            (path, example(wanted)),
            (schema, json.dumps(json_schema(), indent=2) + "\n"),
        ):
            with whole_file(place, force=True) as file:
                file.write(text.encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    terminal.say(f"wrote {path} and {schema}")
    out.print("next: edit it, export the keys it names, then `etl check` and `etl sync`")


def _is_unedited(path: Path) -> bool:
    """Whether the file is as `etl init` writes it, for all providers or for some."""
    from itertools import combinations

    from etl.config.settings import MAX_CONFIG_BYTES, example
    from etl.files import text_in
    from etl.providers import PROVIDERS

    try:
        text = text_in(path, most=MAX_CONFIG_BYTES)
    except (OSError, ValueError):
        return False
    numbers = range(1, len(PROVIDERS) + 1)
    chosen = (some for number in numbers for some in combinations(PROVIDERS, number))
    return any(text == example(some) for some in chosen)


def check(
    ctx: typer.Context,
    source: Annotated[list[str] | None, typer.Argument(help="Sources; default: all.")] = None,
    _quiet: Quiet = False,
) -> None:
    """Try configuration, database, schema version, and what each key may read."""
    from etl.config.settings import masked
    from etl.db.engine import is_absent
    from etl.operations.check import check as check_one

    settings = context.settings(ctx.obj, source or (), secrets=True, lenient=True)
    codes = [OK]
    if not settings.unusable:
        terminal.say(f"configuration: ok ({settings.path})")
    for one in settings.unusable.values():
        terminal.say(f"configuration: {one.why}", style=terminal.BAD)
        codes.append(ConfigError.exit_code)
    try:
        with context.reading(ctx.obj, absent=True):
            pass
        if is_absent(settings.database_url):
            state = f"not there yet ({masked(settings.database_url)}); `etl sync` makes it"
        else:
            state = f"ok ({masked(settings.database_url)})"
        terminal.say(f"database: {state}")
    except EtlError as error:
        terminal.say(f"database: {error}", style=terminal.BAD)
        codes.append(error.exit_code)
    findings = [found for name in settings.sources for found in check_one(settings, name)]
    for found in findings:
        _show(found)
    codes += [found.exit_code for found in findings]
    raise typer.Exit(next((code for code in (1, 2, 4, 75) if code in codes), OK))


def _show(found: "CheckResult") -> None:
    line = f"{found.source} {found.stream}: {found.message}"
    terminal.say(line, style=terminal.GOOD if found.ok else terminal.BAD)


@database.command()
def upgrade(ctx: typer.Context, _quiet: Quiet = False) -> None:
    """Make the schema, or bring it to this version."""
    from etl.db import migrations as schema
    from etl.operations.sync import open_unchecked

    engine = open_unchecked(context.settings(ctx.obj))
    try:
        schema.upgrade(engine)
    finally:
        engine.dispose()
    out.print(f"the schema is at {schema.HEAD}")


@database.command()
def current(ctx: typer.Context) -> None:
    """The schema's version in the database, and the one this etl needs."""
    from etl.db import migrations as schema

    with context.reading(ctx.obj, any_schema=True) as connection:
        found = schema.current(connection)
    out.print(f"database {found or 'without a schema'}, this etl needs {schema.HEAD}")


@database.command("check")
def check_schema(ctx: typer.Context, _quiet: Quiet = False) -> None:
    """Compare the tables of the database with those of this etl; exit 2 where they differ."""
    from etl.db import migrations as schema

    with context.reading(ctx.obj, any_schema=True) as connection:
        if schema.current(connection) is None:
            raise SchemaOutOfDate("the database has no tables of etl; `etl db upgrade` makes them")
    with context.reading(ctx.obj) as connection:
        found = schema.compared(connection)
    for difference in found:
        terminal.say(difference)
    if found:
        raise typer.Exit(2)
    out.print(f"the tables are those of schema {schema.HEAD}")
