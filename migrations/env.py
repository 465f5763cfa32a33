"""Alembic's environment: one connection, one transaction, the same on SQLite and Postgres."""

from collections.abc import Sequence
from typing import Any

from alembic import context
from sqlalchemy import JSON, Connection, Text, text

from etl.config.settings import load
from etl.db.tables import changes
from etl.db.types import UtcDateTime
from etl.operations.sync import open_unchecked

MIGRATION_LOCK = 4_702_111_734  # any number of ours: two processes never migrate at once

GRANTED = """
SELECT pg_class.relname, pg_class.oid, quote_ident(pg_class.relname) AS relation,
       acl.privilege_type AS privilege,
       CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
         AS role
FROM pg_class CROSS JOIN LATERAL aclexplode(pg_class.relacl) AS acl
WHERE pg_class.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
  AND pg_class.relkind IN ('r', 'v') AND acl.grantee <> pg_class.relowner
ORDER BY pg_class.relname, role, privilege
"""


def render_item(kind: str, item: Any, _autogen: Any) -> str | bool:
    """Migrations say what the database has, not the names of this code's types."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def compare_type(_context: Any, _found: Any, _column: Any, found: Any, wanted: Any) -> bool | None:
    """UtcDateTime is the database's own time with a rule of ours; SQLite keeps JSON as text."""
    same_time = isinstance(wanted, UtcDateTime) and "TIME" in str(found).upper()
    same_json = isinstance(wanted, JSON) and isinstance(found, Text)
    return False if same_time or same_json else None


def migrate(connection: Connection) -> None:
    """Runs what was asked for in one transaction, while no other process does."""
    context.configure(
        connection=connection,
        target_metadata=changes.metadata,
        transactional_ddl=True,
        render_item=render_item,
        compare_type=compare_type,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            granted = connection.execute(text(GRANTED)).all()
        context.run_migrations()
        if connection.dialect.name == "postgresql":
            _grant_again(connection, granted)


def _grant_again(connection: Connection, before: Sequence[Any]) -> None:
    """Who could read a view can do so when it was made anew, under the same name."""
    relations = "SELECT relname, oid FROM pg_class WHERE relnamespace = "
    relations += "CAST(quote_ident(current_schema()) AS regnamespace)"
    there = {row.relname: row.oid for row in connection.execute(text(relations))}
    for row in before:
        if row.relname in there and there[row.relname] != row.oid:
            statement = f"GRANT {row.privilege} ON {row.relation} TO {row.role}"
            connection.exec_driver_sql(statement.replace("%", "%%"))


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with open_unchecked(load(secrets=False)).connect() as own:
        migrate(own)
