"""What every command shares: the configuration it was told of, errors, logs."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl.cli import terminal
from etl.errors import ConfigError
from etl.redaction import redact

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from etl.config import Settings


@dataclass(frozen=True, slots=True)
class Common:
    """The options before the command."""

    config: Path | None = None
    told: set[str] = field(default_factory=set)  # warnings, each once


def settings(
    common: Common,
    sources: Sequence[str] = (),
    *,
    secrets: bool = False,
    notices: bool | None = None,
) -> "Settings":
    """The settings for these sources; without `secrets` no key is needed.

    notices: whether URLs of notices are; default: where keys are.
    """
    from etl.config import load

    found = load(common.config, only=sources, secrets=secrets, notices=notices)
    for warning in found.warnings:
        if warning not in common.told:
            common.told.add(warning)
            terminal.complain(f"etl: warning: {warning}")
    return found


def database(common: Common, *, at_once: int = 1) -> "Engine":
    """The database, with the right schema; `at_once` runs share it."""
    from etl.app import open_database

    return open_database(settings(common), at_once=at_once)


@contextmanager
def reading(common: Common) -> Iterator["Connection"]:
    """A connection that sees one moment of the database."""
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.engine import snapshot, store_error

    engine = database(common)
    try:
        with snapshot(engine) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise store_error(error, "reading") from error
    except OverflowError:
        raise ConfigError("a number is too large for the database") from None
    finally:
        engine.dispose()


def past_moment(
    connection: "Connection", text: str, source: str | None, *, option: str
) -> datetime:
    """A moment of which something is known; the sources of which nothing is are told."""
    from etl.app import utc_now
    from etl.db.asof import ensure_known

    now = utc_now()
    moment = terminal.moment(text, now, option)
    notes = ensure_known(connection, moment, now=now, sources=[source] if source else ())
    for note in notes:
        terminal.complain(f"etl: {note}")
    return moment


def set_up_logs(form: str, level: str) -> None:
    """Logs to stderr: lines for people or JSON for machines; keys never get this far."""
    import structlog

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
                lambda _logger, _name, line: redact(str(line)),
            ],
        )
    )
    root = logging.getLogger("etl")
    root.handlers, root.propagate = [handler], False
    root.setLevel(level.upper())
