"""Names that a person typed: the one that is known, or an error with what may be meant, exit 2."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from etl.cli import context
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_LISTED = 12


def named_source(name: str, known: Collection[str]) -> str:
    """The source of that name; ConfigError where nobody knows it."""
    return one_of(name, known, what="source")


def one_of(name: str, known: Collection[str], *, what: str) -> str:
    """The name, where it is known; ConfigError with the nearest one, or with what there is."""
    from etl.config_errors import did_you_mean

    if name in known:
        return name
    hint = did_you_mean(name, known) or f"; {there_is(known, what=what)}"
    raise ConfigError(f"there is no {what} {name}{hint}")


def there_is(known: Iterable[str], *, what: str) -> str:
    """The names there are, or how many, where they are too many for a line."""
    names = sorted(known)
    if not names:
        return f"no {what} is known yet"
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"there are {', '.join(names[:MAX_LISTED])}{more}"


def ensure_source(common: context.Common, connection: "Connection", name: str | None) -> None:
    """The source is stored or configured, or ConfigError."""
    from etl.db.sources import names

    if name is not None:
        named_source(name, {*names(connection), *context.settings(common).sources})
