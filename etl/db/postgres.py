"""How etl uses a Postgres connection: what each transaction begins with, and in which schema.

Nothing is set for a session, and no statement is prepared on the server: the connection may come
from a pool (PgBouncer in transaction mode) that gives it to another application next. What etl
needs is set when a transaction begins, and ends with it.
"""

from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import ConfigError
from etl.json_text import json_text

# How a transaction begins; the execution option etl_begin says which. STATEMENT: each statement is
# a transaction of its own. NOTHING: no transaction.
WRITE, SNAPSHOT, STATEMENT, NOTHING = "write", "snapshot", "statement", "nothing"

_BEGIN = {
    WRITE: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    SNAPSHOT: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    STATEMENT: "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
}
_SETTINGS = (  # whatever the role, the database or the environment has set
    "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; "
    "SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'; "
    "SET LOCAL standard_conforming_strings = on; SET LOCAL quote_all_identifiers = off"
)
_MARKS = ("alembic_version", "change_fields", "run_streams")  # tables that only etl has together
_FIND = """
SELECT current_setting('server_encoding') AS encoding, current_user::text AS role,
  current_database()::text AS database, current_schemas(false)::text[] AS path,
  ARRAY(
    SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = ANY(%s) GROUP BY n.nspname HAVING count(*) = %s
  ) AS with_etl
"""


def open_postgres(
    url: URL, *, begin: str, schema: str | None, connections: int, seconds: float | None = None
) -> Engine:
    """An engine, once it could connect. Raises the driver's errors as SQLAlchemy's.

    begin: how transactions begin where nothing else is said. seconds: the longest statement.
    """
    engine = create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_text,
        pool_size=connections,
        pool_pre_ping=True,  # servers, pools and NAT gateways close idle connections
        isolation_level="AUTOCOMMIT",  # the driver's: _begin begins the transactions
        use_native_hstore=False,
        connect_args={"prepare_threshold": None, "client_encoding": "utf8"},
    )
    try:
        with engine.connect() as connection:
            found = _find_schema(connection, schema)
    except (SQLAlchemyError, ConfigError):
        engine.dispose()
        raise
    settings = f"{_SETTINGS}; SET LOCAL search_path = {quoted(found)}"
    if seconds is not None:
        settings += f"; SET LOCAL statement_timeout = {int(seconds * 1000)}"
    engine.update_execution_options(
        etl_schema=found,
        etl_begin=begin,
        etl_begins={k: f"{v}; {settings}" for k, v in _BEGIN.items()},
    )
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _begin_statement)
    event.listen(engine, "after_cursor_execute", _end_statement)
    event.listen(engine, "handle_error", _break_off_statement)
    return engine


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _find_schema(connection: Connection, wanted: str | None) -> str:
    """The schema of etl's tables: the configured one, the one that has them, or the first one.

    A schema that is named as the role comes first in Postgres' own order; it is passed over unless
    etl is in it, as it may hold anything.
    """
    row = connection.exec_driver_sql(_FIND, (list(_MARKS), len(_MARKS))).one()
    if row.encoding != "UTF8":
        raise ConfigError(
            f"the database {row.database} is encoded as {row.encoding}, and etl needs UTF8: create "
            f"one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    if wanted is not None:
        return wanted
    others = [name for name in row.path if name != row.role]
    holding = [name for name in row.path if name in row.with_etl]
    return next(iter((*holding, *others, *row.path)), "public")


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    begin = options["etl_begins"].get(options["etl_begin"])
    is_own = options.get("isolation_level") == "AUTOCOMMIT"  # who asks for it wants no transaction
    if begin is not None and options["etl_begin"] != STATEMENT and not is_own:
        connection.exec_driver_sql(begin, execution_options={"stream_results": False})


def _begin_statement(connection: Connection, _cursor: object, *_rest: object) -> None:
    options = connection.get_execution_options()
    if options["etl_begin"] == STATEMENT:
        _driver(connection).execute(options["etl_begins"][STATEMENT])


def _end_statement(connection: Connection, _cursor: object, *_rest: object) -> None:
    """The rows are here already: only cursors on the server need their transaction."""
    if connection.get_execution_options()["etl_begin"] == STATEMENT:
        _driver(connection).commit()


def _break_off_statement(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is None or context.is_disconnect or connection.closed or connection.invalidated:
        return
    if connection.get_execution_options().get("etl_begin") == STATEMENT:
        _driver(connection).rollback()


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection
