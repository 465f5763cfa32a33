"""What libraries work out again and again from the same facts, worked out once in a process.

- What a database's tables differ in from those of this code: as long as every table, column,
  constraint, index and comment of the database is the same, so is the answer of Alembic. An audit
  asks for it, and the suite makes hundreds of audits.
- The certificate authorities that OpenSSL reads for each client: as long as their file and folder
  are the same.
"""

import os
import ssl
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from alembic import autogenerate
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

SHAPE_OF_SQLITE = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name, sql"
SHAPE_OF_POSTGRES = """
WITH ours AS (
  SELECT c.oid AS id, n.nspname || '.' || c.relname AS name, c.relkind AS kind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
)
SELECT 'place' AS what, current_schema()::text AS name, current_setting('search_path') AS how
UNION ALL SELECT 'relation', name, kind::text FROM ours
UNION ALL SELECT 'column', name, concat_ws(' ', attnum, attname,
    format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
    pg_get_expr(adbin, adrelid))
  FROM ours JOIN pg_attribute ON attrelid = id
  LEFT JOIN pg_attrdef ON (adrelid, adnum) = (id, attnum)
  WHERE attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'constraint', name, conname || ' ' || pg_get_constraintdef(c.oid)
  FROM ours JOIN pg_constraint c ON conrelid = id
UNION ALL SELECT 'index', name, pg_get_indexdef(indexrelid)
  FROM ours JOIN pg_index ON indrelid = id
UNION ALL SELECT 'comment', name, concat_ws(' ', objsubid, description)
  FROM ours JOIN pg_description ON objoid = id
ORDER BY 1, 2, 3
"""


def share_comparisons() -> None:
    """From now on equal databases are compared with the code once in this process."""
    compare: Callable[..., Any] = autogenerate.compare_metadata
    known: dict[Hashable, Any] = {}

    def compared(context: MigrationContext, metadata: Any) -> Any:
        connection = context.connection
        assert connection is not None
        shape = _shape(connection)
        if shape not in known:
            known[shape] = compare(context, metadata)
        return known[shape]

    autogenerate.compare_metadata = compared


def _shape(connection: Connection) -> Hashable:
    kind = connection.dialect.name
    query = SHAPE_OF_SQLITE if kind == "sqlite" else SHAPE_OF_POSTGRES
    return kind, *map(tuple, connection.execute(text(query)))


def share_authorities() -> None:
    """From now on clients of this process that trust the usual authorities share a context."""
    make: Callable[..., ssl.SSLContext] = ssl.create_default_context
    known: dict[Hashable, ssl.SSLContext] = {}

    def made(*arguments: Any, **options: Any) -> ssl.SSLContext:
        if arguments or options:
            return make(*arguments, **options)
        trusted = _authorities()
        if trusted not in known:
            known[trusted] = make()
        return known[trusted]

    ssl.create_default_context = made


def _authorities() -> Hashable:
    paths = ssl.get_default_verify_paths()
    places = filter(None, (paths.cafile, paths.capath))
    names = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return names, *((place, Path(place).stat().st_mtime_ns) for place in places)
