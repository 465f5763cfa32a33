"""The version of the schema: which one a database has, which one this code needs, upgrades."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from etl.db.comments import write_comments
from etl.db.engine import outside_transactions, quoted, schema_of
from etl.db.failures import store_error
from etl.db.types import metadata
from etl.errors import SchemaOutOfDate

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0016"  # of migrations/versions; a test holds it there, so that no run must read them
MARKS = ("run_streams", "change_fields")  # tables that have been there since the first revision

_HERE = Path(__file__).resolve()
_PLACES = (_HERE.parents[1] / "migrations", _HERE.parents[2] / "migrations")  # wheel, checkout


def current(connection: Connection) -> str | None:
    """The revision of etl's tables; None when there are none.

    SchemaOutOfDate where the table of revisions is another application's.
    """
    there = inspect(connection)
    if not there.has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if found and not all(there.has_table(name) for name in MARKS):
        raise SchemaOutOfDate(
            f"the table alembic_version{_place(connection)} is another application's (revision "
            f"{', '.join(map(str, found))}): {_own_place(connection)}"
        )
    return max(map(str, found), default=None)


def upgrade(engine: Engine, revision: str = "head") -> None:
    """The database has that revision; in one transaction, while no other process migrates.

    SchemaOutOfDate, with nothing changed, where tables of the same names are not etl's, or the
    database is of a newer etl.
    """
    from alembic import command  # slow to import, and seldom needed

    try:
        _make_schema(engine)
        with engine.connect() as connection:
            found = current(connection)
            if found is None:
                _raise_if_taken(connection)
            elif found > HEAD:
                _compare(found)
        with engine.connect() as connection:
            command.upgrade(_config(connection), revision)
        with engine.begin() as connection:
            write_comments(connection)
    except SQLAlchemyError as error:
        raise store_error(error, "upgrading its schema") from error


def downgrade(engine: Engine, revision: str) -> None:
    """The database has that earlier revision; what only later ones hold is lost."""
    from alembic import command

    with engine.connect() as connection:
        command.downgrade(_config(connection), revision)


def differences(engine: Engine) -> list[str]:
    """What differs between the tables of a database and those of this code."""
    with engine.connect() as connection:
        return compared(connection)


def compared(connection: Connection) -> list[str]:
    """The same; tables that etl does not know are no difference."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from etl.db import run_tables, tables  # noqa: F401  they fill the metadata

    def is_ours(_object: object, name: str | None, kind: str, *_more: object) -> bool:
        return kind != "table" or name in metadata.tables

    options = {"compare_type": False, "include_object": is_ours}
    context = MigrationContext.configure(connection, opts=options)
    found = compare_metadata(context, metadata)
    return [str(difference) for difference in found if not _is_comment(difference)]


def _is_comment(difference: Any) -> bool:
    """Comments are written by each upgrade, and those of a user are no fault."""
    kinds = [one[0] for one in difference] if isinstance(difference, list) else [difference[0]]
    return all(kind in ("remove_table_comment", "modify_comment") for kind in kinds)


def ensure(engine: Engine) -> None:
    """The schema is right, or SchemaOutOfDate; an empty SQLite database gets it here."""
    with engine.connect() as connection:
        found = current(connection)
        empty = found is None and not inspect(connection).get_table_names()
    if empty and engine.dialect.name == "sqlite":
        upgrade(engine)
        return
    _compare(found)


def require(engine: Engine) -> None:
    """The schema is right, or SchemaOutOfDate; for those who only read."""
    with engine.connect() as connection:
        found = current(connection)
    _compare(found)


def _compare(found: str | None) -> None:
    if found != HEAD:
        has = "no schema" if found is None else f"schema {found}"
        newer = found is not None and found > HEAD
        remedy = "install a newer etl" if newer else "run `etl db upgrade`"
        raise SchemaOutOfDate(f"the database has {has}, this etl needs {HEAD}: {remedy}")


def _raise_if_taken(connection: Connection) -> None:
    """SchemaOutOfDate where other applications have tables or views of etl's names."""
    from etl.db import run_tables, tables  # noqa: F401  they fill the metadata

    there = inspect(connection)
    found = {*there.get_table_names(), *there.get_view_names()}
    taken = sorted(found & {*metadata.tables, *(f"{name}_current" for name in metadata.tables)})
    if taken:
        raise SchemaOutOfDate(
            f"there are tables{_place(connection)} of the same names that are not etl's: "
            f"{', '.join(taken)}. {_own_place(connection).capitalize()}"
        )


def _place(connection: Connection) -> str:
    schema = schema_of(connection)
    return f" in the schema {schema}" if schema else ""


def _own_place(connection: Connection) -> str:
    """How etl gets a place where nobody else is."""
    if schema_of(connection) is None:
        return "give etl a database file of its own"
    return 'give etl a schema of its own, schema = "etl" under [database], and run `etl db upgrade`'


def _make_schema(engine: Engine) -> None:
    """The Postgres schema is there; where it is, no right to make one is needed."""
    name = schema_of(engine)
    if name is None:
        return
    with outside_transactions(engine) as connection:
        query = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
        if connection.execute(query, {"name": name}).first() is None:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}")


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    place = next(place for place in _PLACES if place.is_dir())
    config.set_main_option("script_location", str(place).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
