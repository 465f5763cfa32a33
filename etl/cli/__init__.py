"""The commands: each one reads its arguments, calls an operation, and prints the result."""

import logging
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.main import get_command

from etl import __version__
from etl.cli import (
    backfill,
    changes,
    checks,
    config,
    demo,
    diff,
    export,
    notices,
    output_streams,
    plan,
    prune,
    report,
    reprocess,
    runs,
    schedule,
    source,
    sync,
    web,
    worker,
)
from etl.cli.context import Common, set_up_logs, show_waits
from etl.cli.error_messages import translated
from etl.cli.quiet import quiet as quietly
from etl.cli.terminal import BAD, complain
from etl.errors import FAILED, TRY_AGAIN, ConfigError
from etl.redaction import redact
from etl.signals import QUIET, interruptible

HELP = ["-h", "--help"]
DAEMONS = ("schedule", "worker")  # nobody sees what they do but for their logs


class _Commands(TyperGroup):
    """The commands; whichever a signal stops ends with one line and the exit code for that."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        try:
            with interruptible():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("etl: stopped by a signal; what was not finished is not kept", style=BAD)
            raise typer.Exit(TRY_AGAIN) from None


app = typer.Typer(
    name="etl",
    cls=_Commands,
    help="Keeps a local SQL database in step with the projects and layers of LaunchDarkly, "
    "Statsig and Layers.com.",
    epilog="Exit codes: 0 ok · 1 failed · 2 configuration or schema · 3 unsafe change held back · "
    "4 access denied · 5 partial · 6 stale · 7 changes · 75 try again later.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"etl {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="The configuration file; default: config/etl.toml."),
    ] = None,
    log: Annotated[
        Literal["off", "text", "json"] | None,
        typer.Option(help="Logs on stderr; default: text of schedule and worker, else off."),
    ] = None,
    log_level: Annotated[Literal["debug", "info", "warning"], typer.Option()] = "info",
    quiet: Annotated[bool, typer.Option(*QUIET, help="As the option of the command.")] = False,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """What every command shares."""
    log = log or ("text" if context.invoked_subcommand in DAEMONS else "off")
    context.obj = Common(config_path, log)
    if log == "off":
        logging.getLogger("etl").addHandler(logging.NullHandler())
        show_waits()
    else:
        set_up_logs(log, log_level)
    if quiet:
        _begin_quiet(context)


def _begin_quiet(context: typer.Context) -> None:
    name = context.invoked_subcommand or ""
    command = get_command(app).commands[name]  # type: ignore[attr-defined]  # it is a group
    asked = [command, *getattr(command, "commands", {}).values()]
    if not any(QUIET[0] in option.opts for one in asked for option in one.params):
        raise ConfigError(f"etl {name} prints what it is asked for; leave out --quiet")
    context.with_resource(quietly())


for module in (
    config,
    sync,
    backfill,
    plan,
    schedule,
    worker,
    runs,
    changes,
    diff,
    report,
    export,
    reprocess,
    checks,
    notices,
    prune,
    source,
    web,
    demo,
):
    module.add_to(app)


def command_line() -> Any:
    """The command line, whose help has words for values, not types, and nothing for flags."""
    made = get_command(app)
    waiting: list[Any] = [made]
    for one in waiting:
        waiting += getattr(one, "commands", {}).values()
        for option in one.get_params(typer.Context(one, help_option_names=HELP)):
            if getattr(option, "is_flag", False):
                option.metavar = ""
            elif option.metavar is None:
                option.display_type = partial(_word, option)
                if option.param_type_name == "argument":
                    option.metavar = option.name.upper()
    return made


def _word(option: Any, *_at: Any, **_context: Any) -> str:
    """What stands for a value in the help: its choices, or what it is; an argument says it."""
    kind = option.type_descriptor
    if kind.is_choice:
        return "|".join(map(str, kind.choices))
    if option.param_type_name == "argument":
        return ""
    if kind.is_path:
        return "PATH"
    if kind.is_ranged or kind.annotation is int:
        return "NUMBER"
    return "TEXT" if "_" in option.name else str(option.name).upper()


def main() -> None:
    """Runs the command line; an error is one clear message and its exit code."""
    output_streams.install()
    try:
        command_line()()
    except Exception as error:  # noqa: BLE001  nothing ends as a traceback
        found = translated(error)
        if found is None:
            _complain_of_fault(error)
            sys.exit(FAILED)
        for number, line in enumerate(str(found).splitlines()):
            complain("    " if number else "etl:", line, style=BAD)
        sys.exit(found.exit_code)
    finally:
        for trouble in output_streams.lost():
            complain("etl:", trouble, style=BAD)
        # An interrupt that once passed through the execution of a string, as in the making of a
        # dataclass, lets `python -m etl` end by SIGINT whatever its exit code is; the next
        # execution of a string takes that back.
        exec("")  # noqa: S102


def _complain_of_fault(error: Exception) -> None:
    """One line; with `--log` the traceback too."""
    log = logging.getLogger("etl")
    if log.hasHandlers():  # else it came before the logs, and Python would print it
        log.error("internal error", exc_info=error)
    frames = traceback.extract_tb(error.__traceback__)
    providers = getattr(sys.modules.get("etl.providers"), "MODULES", {})
    frame = next((one for one in reversed(frames) if one.filename in providers), frames[-1])
    told = redact(next(iter(str(error).splitlines()), ""))
    what = f"{type(error).__name__}: {told} ({Path(frame.filename).name}:{frame.lineno}). "
    if frame.filename in providers:
        what = f"the provider {providers[frame.filename]} failed: {what}Its package must be fixed"
    else:
        what = (
            f"internal error: {what}Please report it with the output of the same command after "
            "`etl --log text`"
        )
    complain(f"etl: {what}", style=BAD)
