"""The version of the schema: which one a database has, which one this code needs, upgrades."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text

from etl.db.comments import write_comments
from etl.errors import SchemaOutOfDate

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0014"  # of migrations/versions; a test holds it there, so that no run must read them

_HERE = Path(__file__).resolve()
_PLACES = (_HERE.parents[1] / "migrations", _HERE.parents[2] / "migrations")  # wheel, checkout


def current(connection: Connection) -> str | None:
    """The revision of a database, None when it has no schema of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(engine: Engine, revision: str = "head") -> None:
    """The database has that revision; in one transaction, while no other process migrates."""
    from alembic import command  # slow to import, and seldom needed

    with engine.connect() as connection:
        command.upgrade(_config(connection), revision)
    with engine.begin() as connection:
        write_comments(connection)


def downgrade(engine: Engine, revision: str) -> None:
    """The database has that earlier revision; what only later ones hold is lost."""
    from alembic import command

    with engine.connect() as connection:
        command.downgrade(_config(connection), revision)


def differences(engine: Engine) -> list[str]:
    """What differs between the tables of a database and those of this code."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from etl.db.tables import changes

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        found = compare_metadata(context, changes.metadata)
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


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    place = next(place for place in _PLACES if place.is_dir())
    config.set_main_option("script_location", str(place).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
