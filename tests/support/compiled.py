"""Statements are compiled once in a process, not once in each of the hundreds of engines of tests.

SQLAlchemy keeps what it compiled for each engine, and compiling is a fifth of what the suite costs.
Here all engines of one kind (driver, version of the server, settings of the dialect) keep it
together. It is SQLAlchemy's own `compiled_cache`: what is compiled and what is run stays the same.
"""

from collections import defaultdict
from collections.abc import Hashable
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import Compiled

SETTINGS = ("server_version_info", "paramstyle", "_json_serializer", "_json_deserializer")

Key = tuple[Any, ...]


class _Statements(dict[Key, Compiled]):
    """Statement -> what it was compiled to; the first of a key is the dialect of one engine."""

    def get(self, key: Key, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Key, compiled: Compiled) -> None:
        super().__setitem__(key[1:], compiled)


_KINDS: defaultdict[Hashable, _Statements] = defaultdict(_Statements)


def share_compiled_statements() -> None:
    """From now on every connection of this process does."""
    event.listen(Engine, "engine_connect", _share)


def _share(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_KINDS[_kind(connection.dialect)])


def _kind(dialect: Dialect) -> Hashable:
    """Equal for engines that compile alike: what `create_engine` and a first connection set."""
    return (type(dialect), *(getattr(dialect, name, None) for name in SETTINGS))
