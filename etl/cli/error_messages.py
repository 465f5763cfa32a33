"""Errors of libraries and of the system as errors of etl, for the boundary of every command."""

import errno
from types import TracebackType

from etl.db.failures import explained
from etl.errors import EtlError, StoreError

_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "the system has too many open files",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`)",
    errno.EACCES: "use another place, or another user",
    errno.EPERM: "use another place, or another user",
    errno.EROFS: "use another place: this file system is read-only",
    errno.ENOTDIR: "use another place",
    errno.ENOENT: "check the path",
    errno.ENOMEM: "more memory is needed",
    errno.EAGAIN: "the system starts no more processes: raise the limit (`ulimit -u`, `ulimit -v`, "
    "or the container's), or use `--concurrency 1`",
}


def translated(error: Exception) -> EtlError | None:
    """An error that is no fault of etl's own, in one line; None for any other."""
    cause: BaseException | None = error
    while cause is not None:
        if found := _of_database(cause):
            return found
        cause = cause.__cause__
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return EtlError(f"no new thread; {_REMEDIES[errno.EAGAIN]}")
    if isinstance(error, MemoryError) or _is_not_mapped(error):
        return EtlError(f"out of memory; {_REMEDIES[errno.ENOMEM]}")
    return None


def _is_not_mapped(error: Exception) -> bool:
    """Whether a library could not be loaded for want of memory, of which its loader says this."""
    signs = ("failed to map segment", "cannot allocate memory")
    return isinstance(error, ImportError) and any(sign in str(error).lower() for sign in signs)


def _of_database(error: BaseException) -> EtlError | None:
    if isinstance(error, EtlError):
        return error
    library = _library(error)
    if library in ("sqlalchemy", "sqlite3", "psycopg"):
        return StoreError(f"the database failed: {explained(error)}")
    if library == "alembic":
        return StoreError(f"the schema cannot be brought to another version: {error}")
    if isinstance(error, ValueError) and _in_database(error.__traceback__):
        return StoreError(
            f"the database holds a value that cannot be read ({error}); restore a backup "
            "or correct it by hand"
        )
    return None


def _library(error: BaseException) -> str:
    """Whose error it is; told without importing, which takes time, and files that may be short."""
    return type(error).__module__.partition(".")[0]


def _of_system(error: OSError) -> EtlError:
    where = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return EtlError(f"{where}{error.strerror or error}" + (f"; {remedy}" if remedy else ""))


def _in_database(frames: TracebackType | None) -> bool:
    """Whether it came up where values of the database are read."""
    while frames is not None:
        if frames.tb_frame.f_globals.get("__name__", "").startswith("sqlalchemy."):
            return True
        frames = frames.tb_next
    return False
