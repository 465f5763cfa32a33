"""Names that a person typed: the one that is known, or an error with what may be meant, exit 2."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from etl.cli import context
from etl.errors import ConfigError
from etl.json_text import did_you_mean, near_or_some

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.history.runs import Filter


def named_source(name: str, known: Collection[str]) -> str:
    """The source of that name; ConfigError where nobody knows it."""
    return one_of(name, known, what="source")


def one_of(name: str, known: Collection[str], *, what: str) -> str:
    """The name, where it is known; ConfigError with the nearest one, or with what there is."""
    if name not in known:
        raise ConfigError(f"there is no {what} {name}{near_or_some(name, known)}")
    return name


def ensure_source(common: context.Common, connection: "Connection", name: str | None) -> None:
    """The source is stored or configured, or ConfigError."""
    from etl.history.sources import names

    if name is not None:
        named_source(name, {*names(connection), *context.settings(common).sources})


def ensure_known(common: context.Common, connection: "Connection", wanted: "Filter") -> None:
    """The source, the run and the record that a filter names are there, or ConfigError."""
    from etl.history import runs

    ensure_source(common, connection, wanted.source)
    if wanted.run_id is not None:
        runs.ensure_run(connection, wanted.run_id)
    if wanted.key is not None and not runs.has_key(connection, wanted.key, wanted.stream):
        streams = [wanted.stream] if wanted.stream else runs.STREAMS
        keys = {key for stream in streams for key in runs.keys(connection, stream)}
        raise ConfigError(
            f"no record ever had the key {wanted.key!r}{did_you_mean(wanted.key, keys)}"
        )


def one_source(argument: str | None, option: str | None) -> str | None:
    """The source, which may be given as an argument or with --source; ConfigError for two."""
    if argument is not None and option not in (None, argument):
        raise ConfigError(f"two sources: {argument} and --source {option}; name one")
    return option if argument is None else argument
