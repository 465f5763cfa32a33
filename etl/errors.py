"""Every error of etl, drawn as one tree; the exit code says what the caller can do next.

EtlError
├── ConfigError            the operator edits the configuration                    2
├── ProviderError          a provider's file or package is wrong                   2
├── SourceError            one provider, one request                               1
│   ├── TransientError     timeout, reset, 408, 5xx: the next run may do better   75
│   │   └── RateLimited    the vendor asked for a longer wait than a run has      75
│   ├── ConnectionFailed   unknown host, bad certificate, proxy refuses            1
│   ├── AccessDenied       401, 403                                                4
│   ├── RequestRejected    400, 404, 422: the request itself is wrong              1
│   └── ProtocolError      200, but not as documented                              1
│       ├── MisdirectedAnswer  200, but the answer to another request              1
│       └── NotRecorded        a replay asks what its archive does not hold        1
├── UnsafeChange           deletions held back                                     3
├── PlanOutOfDate          the database moved on since the plan was made           3
└── StoreError             the database                                            1
    ├── NoRoom             the temporary folder cannot be written                  1
    ├── SchemaOutOfDate    run `etl db upgrade`                                    2
    └── RunInProgress      another run holds the lease of this source             75
        └── LeaseLost      another run took the lease while this one worked       75

A run whose parts landed but not all of them has no exception: its exit code is PARTIAL.
"""

from datetime import datetime
from typing import Any

from etl.redaction import redact

OK = 0
FAILED = 1
PARTIAL = 5
STALE = 6
CHANGES = 7
TRY_AGAIN = 75


class EtlError(Exception):
    """Any failure etl can explain: the message says what, where, how much and the way out.

    No message holds a part of a secret, also where it repeats a library's.
    """

    exit_code = FAILED

    def __str__(self) -> str:
        return redact(super().__str__())


class ConfigError(EtlError):
    """The configuration is wrong; the message names file, key and remedy."""

    exit_code = 2


class ProviderError(EtlError):
    """The description of a provider is wrong: its author corrects the file or the package."""

    exit_code = 2


class SourceError(EtlError):
    """A provider's answer that ends a request; carries source, url (no secrets) and status."""

    def __init__(
        self, message: str, *, source: str = "", url: str = "", status: int | None = None
    ) -> None:
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{message}" + (f" ({url})" if url else ""))
        self.source = source
        self.url = url
        self.status = status


class TransientError(SourceError):
    """Timeouts, resets, 408, 5xx, after the retries: the next run may do better."""

    exit_code = TRY_AGAIN


class RateLimited(TransientError):
    """The provider asked for a longer pause than this run is allowed to wait."""

    def __init__(
        self,
        message: str,
        *,
        retry_at: datetime,
        source: str = "",
        url: str = "",
        status: int | None = 429,
    ) -> None:
        super().__init__(message, source=source, url=url, status=status)
        self.retry_at = retry_at


class ConnectionFailed(SourceError):
    """No connection, and no retry can help: unknown host, bad certificate, a proxy that refuses."""


class AccessDenied(SourceError):
    """401 or 403: the key is not valid, or may not read this."""

    exit_code = 4


class RequestRejected(SourceError):
    """400, 404, 422 and other refusals of the request itself; not worth a retry."""


class ProtocolError(SourceError):
    """A 200 that is not as documented: a page loop, no list, a foreign host, broken JSON."""


class MisdirectedAnswer(ProtocolError):
    """An answer that says itself that it belongs to another request; it proves nothing.

    body: the redacted answer.
    """

    def __init__(self, message: str, *, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.body = body


class NotRecorded(ProtocolError):
    """A replay sends a request that the recorded run did not send."""


class UnsafeChange(EtlError):
    """More deletions than the limits allow; the updates landed, the deletions were held back.

    much: how many of how many, and the limit.
    """

    exit_code = 3

    def __init__(self, message: str, *, much: str, stream: str, deleted: int, stored: int) -> None:
        super().__init__(message)
        self.much = much
        self.stream = stream
        self.deleted = deleted
        self.stored = stored


class PlanOutOfDate(EtlError):
    """The database moved on since a plan was made; nothing of it is applied."""

    exit_code = 3


class StoreError(EtlError):
    """The database refused, is locked, full or unreachable; nothing is half-applied."""


class NoRoom(StoreError):
    """The temporary folder cannot be written; nothing was committed."""


class SchemaOutOfDate(StoreError):
    """The schema is older or newer than this code."""

    exit_code = 2


class RunInProgress(StoreError):
    """Another run holds the lease of this source."""

    exit_code = TRY_AGAIN


class LeaseLost(RunInProgress):
    """Another run took the lease of this source over; this one writes nothing more."""
