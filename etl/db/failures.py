"""What a database's error means to a person: one line with the driver's words, and the remedy."""

import re
from typing import TYPE_CHECKING, Any

from etl.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.exc import SQLAlchemyError

DEPENDENT_OBJECTS = "2BP01"  # SQLSTATE
_REMEDIES: tuple[tuple[str, str], ...] = (  # a pattern of what the driver says, in lower case
    (
        "readonly database",
        "this user may not write the file or its folder, or the file system is read-only",
    ),
    (
        "unable to open database file",
        "the path must name a file that this user may read, in a folder that it may enter and, "
        "to write, change",
    ),
    ("file is not a database", "check the path, or restore a backup"),
    ("disk image is malformed", "restore the last good backup"),
    ("malformed database schema", "restore the last good backup"),
    ("database or disk is full", "free some space, then run the command again"),
    ("disk i/o error", "look at the disk and at the limits of this process"),
    ("database is locked", "another process is writing: run the command again when it has ended"),
    ("could not decode to utf-8", "the database holds text that is not UTF-8: restore a backup"),
    (
        "too many clients|too many connections|connection slots are reserved",
        "end some connections, raise the limit, or put a pool such as PgBouncer in between",
    ),
    (
        "role .* does not exist",
        "check the user in database.url; as an administrator: CREATE ROLE … LOGIN",
    ),
    (
        "database .* does not exist",
        "check the name in database.url; as an administrator: CREATE DATABASE … OWNER the role "
        "of etl",
    ),
    ("not permitted to log in", "as an administrator: ALTER ROLE … LOGIN"),
    (
        "not currently accepting connections",
        "as an administrator: ALTER DATABASE … ALLOW_CONNECTIONS true",
    ),
    (
        "not accepting connections|not yet accepting|is starting up|is shutting down"
        "|in recovery mode|terminating connection due to",
        "run the command again when the server is up",
    ),
    (
        "connect privilege",
        "as an administrator: GRANT CONNECT ON DATABASE … TO the role of etl",
    ),
    (
        "authentication failed|no password supplied",
        "check user and password in database.url, or in the file or variable that it names",
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "as an administrator: let this host, user and database in by a line of pg_hba.conf",
    ),
    (
        "server does not support ssl",
        "turn SSL on in the server, or use another sslmode in database.url",
    ),
    (
        "certificate verify failed|root certificate|certificate file|private key file",
        "check sslmode, sslrootcert and sslcert in database.url, and the server's certificate",
    ),
    (
        "connection refused|failed: no such file or directory|no route to host"
        "|network is unreachable|timeout expired",
        "check host and port in database.url, and whether the server runs and may be reached",
    ),
    (
        "resolve host|translate host|name or service not known",
        "check the host in database.url",
    ),
    (
        "permission denied for schema",
        "as an administrator: GRANT USAGE, CREATE ON SCHEMA {name} TO the role of etl; or "
        'CREATE SCHEMA etl AUTHORIZATION that role, with schema = "etl" under [database]',
    ),
    (
        "permission denied for database",
        "as an administrator: CREATE SCHEMA … AUTHORIZATION the role of etl",
    ),
    ("permission denied for", "grant the role of etl that right, or use the role that owns it"),
    ("must be owner of", "use the role that made etl's tables"),
    ("unsupported startup parameter", "etl worker needs the server itself, not a pool"),
    ("in a read-only transaction", "the server takes no writes: connect to the primary server"),
    ("cannot set transaction read-write", "the server is a standby: connect to the primary server"),
)


def store_error(error: "SQLAlchemyError", doing: str) -> StoreError:
    """A driver's error as ours: one line, no parameters, no traceback needed."""
    return StoreError(f"the database failed while {doing}: {explained(error)}{_dependents(error)}")


def _dependents(error: "SQLAlchemyError") -> str:
    """What of the users' stands in the way of a change of the schema, and what to do."""
    cause: Any = getattr(error, "orig", None)
    if getattr(cause, "sqlstate", None) != DEPENDENT_OBJECTS:
        return ""
    detail = "; ".join(str(cause.diag.message_detail or "").splitlines())
    return f" ({detail}). Drop what depends on it, upgrade, and create it again"


def explained(error: BaseException) -> str:
    """The driver's own words, and what to do where that is known."""
    said = first_line(error)
    meant = said.lower() + (" connect privilege" if "CONNECT privilege" in str(error) else "")
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, meant):
            name = re.search(r"schema (\S+)", said)
            return f"{said}; {remedy.format(name=name[1] if name else '…')}"
    return said


def first_line(error: BaseException) -> str:
    """The first line of what the driver said."""
    cause = getattr(error, "orig", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
