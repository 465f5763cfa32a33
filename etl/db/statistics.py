"""The planner's statistics, after a commit that changed much: nobody else refreshes them in time.

Without them PostgreSQL takes a table that was just filled for all but empty until its autovacuum
comes round, and the next run is slower than the load. SQLite never makes any by itself.
"""

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from etl.db.postgres import quoted
from etl.db.tables import RECORDS, change_fields, changes

log = logging.getLogger(__name__)

LARGE = 1000  # changes in one run
PATIENCE_MS = 200  # of a table that is being vacuumed
SQLITE_ROWS = 1000  # that are looked at in each index


def refresh(engine: Engine) -> None:
    """Statistics of the tables that runs write; what is busy or not ours is left as it is."""
    tables = [changes, change_fields]
    for record in RECORDS.values():
        tables += [record.current, record.history, *(one.current for one in record.children)]
    postgres = engine.dialect.name == "postgresql"
    limit = (
        f"SET LOCAL lock_timeout = {PATIENCE_MS}"
        if postgres
        else f"PRAGMA analysis_limit = {SQLITE_ROWS}"
    )
    for table in tables:
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(limit)
                connection.exec_driver_sql(f"ANALYZE {quoted(table.name)}")
        except SQLAlchemyError as error:
            log.debug("no statistics of %s: %s", table.name, error)
