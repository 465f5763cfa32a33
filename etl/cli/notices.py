"""`etl notices`: what is wrong and who was told; a test message."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from etl.cli import context, terminal
from etl.cli.terminal import out
from etl.errors import FAILED, ConfigError
from etl.json_text import iso_time


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("notices")(notices)


def notices(
    ctx: typer.Context,
    test: Annotated[
        bool, typer.Option("--test", help="Send a test message; exit 1 if one is not taken.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """The open causes of notices: what is wrong since when, and when people were told."""
    if test:
        _test(ctx.obj)
        return
    from etl.notify.store import everything

    with context.reading(ctx.obj) as connection:
        found = everything(connection)
    if as_json:
        print(json.dumps([asdict(one) for one in found], default=iso_time))
    elif not found:
        terminal.say("nothing is wrong that people should be told of")
    else:
        columns = ("what", "source", "since (UTC)", "last seen (UTC)", "told (UTC)", "ended (UTC)")
        out.print(terminal.table((*columns, "message"), map(_line, found)))


def _line(one: Any) -> tuple[object, ...]:
    return (
        one.cause.kind,
        one.cause.source,
        terminal.time(one.first_seen_at),
        terminal.time(one.last_seen_at),
        terminal.time(one.notified_at) or "not yet",
        terminal.time(one.ended_at),
        one.cause.message,
    )


def _test(common: context.Common) -> None:
    from etl.notify.send import NotSent, targets_of

    targets = targets_of(context.settings(common, notices=True))
    if not targets:
        raise ConfigError('no URL is configured: [notices] urls = [{ env = "ETL_NOTICES_URL" }]')
    failed = 0
    for name, send in targets.items():
        try:
            send("etl: a test", "`etl notices --test` sent this; nothing is wrong", True)
            terminal.say(f"{name}: sent", style=terminal.GOOD)
        except NotSent as error:
            failed += 1
            terminal.say(f"{name}: not sent: {error}", style=terminal.BAD)
    if failed:
        raise typer.Exit(FAILED)
