"""What every command shares: the configuration it was told of, errors, logs."""

import logging
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from etl.cli import terminal
from etl.errors import ConfigError
from etl.log_fields import fields
from etl.redaction import redact

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from etl.config.settings import Settings

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
HealthHost = Annotated[
    str,
    typer.Option(
        help="Address that /healthz and /metrics listen on; 0.0.0.0 or :: for probes from outside."
    ),
]


@dataclass(frozen=True, slots=True)
class Common:
    """The options before the command."""

    config: Path | None = None
    log: str = "off"  # off, text, json
    told: set[str] = field(default_factory=set)  # warnings, each once


def announce(common: Common, text: str, event: str, **values: object) -> None:
    """What a daemon says of itself: a line on stdout, or where machines read, a line of the log."""
    if common.log == "json":
        log.info("%s", text, extra=fields(event, **values))
    else:
        terminal.say(text)


def settings(
    common: Common,
    sources: Sequence[str] = (),
    *,
    secrets: "bool | Literal['fingerprint']" = False,
    notices: bool | None = None,
    lenient: bool = False,
) -> "Settings":
    """The settings for these sources; without `secrets` no key is needed.

    notices: whether URLs of notices are; default: where keys are. lenient: sources whose key is
    missing are left out, see `Settings.unusable`.
    """
    from etl.config.settings import load

    found = load(common.config, only=sources, secrets=secrets, notices=notices, lenient=lenient)
    for warning in found.warnings:
        if warning not in common.told:
            common.told.add(warning)
            terminal.complain(f"etl: warning: {warning}")
    return found


def with_keys(common: Common) -> "Settings":
    """The settings of the sources whose keys are there, for a daemon; the others are logged."""
    found = settings(common, secrets=True, lenient=True)
    for name, one in found.unusable.items():
        log.error(
            "%s is left out: %s",
            name,
            one.why,
            extra=fields("source left out", source=name, error=one.why),
        )
    return found


def database(common: Common, *, at_once: int = 1, make: bool = True) -> "Engine":
    """The database, with the right schema; `at_once` runs share it.

    make: a file that is not there is made, not an error.
    """
    from etl.operations.sync import open_database

    return open_database(settings(common), at_once=at_once, make=make)


@contextmanager
def reading(
    common: Common, *, any_schema: bool = False, absent: bool = False
) -> Iterator["Connection"]:
    """A connection that sees one moment of the database; nothing is made or written.

    any_schema: also of another version. absent: a file that is not there is read as an empty one,
    not an error.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.engine import snapshot, store_error
    from etl.db.migrations import require
    from etl.operations.sync import open_or_empty

    found = settings(common)
    engine = open_or_empty(found, tables=not any_schema, absent=absent)
    try:
        if not any_schema:
            require(engine)
        with snapshot(engine) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise store_error(error, "reading") from error
    except OverflowError:
        raise ConfigError("a number is too large for the database") from None
    finally:
        engine.dispose()


@contextmanager
def writing(common: Common, doing: str, *, dry_run: bool = False) -> Iterator["Connection"]:
    """A transaction on what is stored, committed when the block ends well.

    With `dry_run` it is rolled back.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.engine import store_error

    engine = database(common, make=False)
    try:
        with engine.connect() as connection:
            yield connection
            (connection.rollback if dry_run else connection.commit)()
    except SQLAlchemyError as error:
        raise store_error(error, doing) from error
    finally:
        engine.dispose()


def past_moment(
    connection: "Connection", text: str, source: str | None, *, option: str
) -> datetime:
    """A moment of which something is known; the sources of which nothing is are told."""
    from etl.history.as_of import ensure_known
    from etl.operations.sync import utc_now

    now = utc_now()
    moment = terminal.moment(text, now, option)
    notes = ensure_known(connection, moment, now=now, sources=[source] if source else ())
    for note in notes:
        terminal.complain(f"etl: {note}")
    return moment


def show_waits() -> None:
    """Waits for a lock are told also where there are no logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("etl: %(message)s"))
    logging.getLogger("etl.waits").handlers = [handler]


def set_up_logs(form: str, level: str) -> None:
    """Logs to stderr: lines for people or JSON for machines; keys never get this far."""
    import structlog

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # without the values of variables
    ]
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    last: list[structlog.typing.Processor] = (
        [_add_fields, without_meta, structlog.processors.JSONRenderer(default=str)]
        if form == "json"
        else [_escape, without_meta, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[*last, lambda _logger, _name, line: redact(str(line))],
        )
    )
    root = logging.getLogger("etl")
    root.handlers, root.propagate = [handler], False
    root.setLevel(level.upper())


def _add_fields(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The fields of the record, whose event takes the place of the sentence."""
    event.update(getattr(event["_record"], "fields", {}))
    return event


def _escape(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """No text of a vendor begins a line of its own or commands the terminal."""
    for name, value in event.items():
        if name == "exception":
            event[name] = "\n".join(f"    {terminal.safe(line)}" for line in value.split("\n"))
        elif isinstance(value, str):
            event[name] = terminal.safe(value)
    return event
