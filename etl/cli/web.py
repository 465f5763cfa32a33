"""`etl web`: the console for a browser, read-only, on loopback unless told otherwise."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from etl.cli import context, terminal


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(web)


def web(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8080,
    token_env: Annotated[
        str | None, typer.Option(help="Environment variable with the token that readers need.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with that token, which only you may read.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name under which the console is called; repeatable.")
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="A proxy whose X-Forwarded-For and X-Forwarded-Proto are believed: "
            "an address or a network; repeatable.",
        ),
    ] = None,
) -> None:
    """Serve the database to a browser, read-only. Elsewhere than on loopback a token is needed."""
    from etl.config.settings import secret
    from etl.db.engine import BUSY_SECONDS
    from etl.db.migrations import require
    from etl.operations.sync import open_to_read
    from etl.web.server import Door, serve

    context.set_up_logs("text", "warning")
    token = None
    if token_env is not None or token_file is not None:
        token = secret("the token", env=token_env, file=token_file)
    engine = open_to_read(context.settings(ctx.obj), seconds=BUSY_SECONDS)
    # uvicorn ends well on a signal, then raises it again for whoever was there before
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        require(engine)
        door = Door(
            host=host,
            port=port,
            token=token,
            hosts=tuple(allow_host or ()),
            proxies=tuple(trusted_proxy or ()),
        )
        serve(engine, door, _invite)
    except KeyboardInterrupt:
        pass
    finally:
        engine.dispose()
    terminal.say("stopped")


def _invite(url: str) -> None:
    terminal.say(f"the console is at {url}; ctrl-c ends it")
