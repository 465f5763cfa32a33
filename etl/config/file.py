"""The tables of the configuration file: what may stand in it, and its JSON Schema.

It reads no file, no environment and no secret; what is said about a mistake is in config_errors.
"""

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union
from urllib.parse import SplitResult, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    create_model,
    model_validator,
)

from etl.config.cron import cron_trigger
from etl.extract.rate_limit import window_of
from etl.providers import PROVIDERS
from etl.redaction import ENCODING_HINT, is_clear

MAX_NAME_BYTES = 63  # bytes; Postgres cuts off the rest
DEFAULT_DATABASE_URL = "sqlite:///data/etl.db"
_HOST = re.compile(
    r"[\w-]+(\.[\w-]+)*\.?|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+"
)  # a name or an IPv6 address
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLACE = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def database_url(text: str) -> str:
    """The URL as the engine takes it; ValueError, without the URL, for another kind of database."""
    scheme, found, rest = text.strip().partition("://")
    if found and scheme in POSTGRES_SCHEMES and rest:
        if not is_clear(f"postgresql://{rest}"):
            raise ValueError(f"expected postgresql://user@host/name; {ENCODING_HINT}")
        return f"postgresql+psycopg://{_postgres_place(rest)}"
    if found and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return f"sqlite:///{_sqlite_path(rest[1:])}"
    raise ValueError("expected sqlite:///path/to/file.db or postgresql://user@host/name")


def _sqlite_path(text: str) -> str:
    """The path of an SQLite file, percent-encoded as in a URL, `~` as the home."""
    if text == ":memory:" or text.startswith("file:"):
        raise ValueError(
            "expected a file, as in sqlite:///data/etl.db: what is in memory is gone when the "
            "command ends"
        )
    if "?" in text:
        raise ValueError(
            "expected a file without parameters: etl sets its own (write a ? in a name as %3F)"
        )
    if not text.isprintable() or _PERCENT.search(text):
        raise ValueError("expected a path without control characters; write % in a name as %25")
    try:
        path = str(Path(unquote(text)).expanduser()) if text.startswith("~") else None
    except RuntimeError:
        raise ValueError("there is no such home; write the whole path") from None
    return text if path is None else path.replace("%", "%25").replace("?", "%3F")


def _postgres_place(rest: str) -> str:
    """What follows `postgresql://`; several hosts become options, as SQLAlchemy wants them."""
    before, _, query = rest.partition("?")
    authority, slash, name = before.partition("/")
    user, at, places = authority.rpartition("@")
    hosts = [_PLACE.fullmatch(one) for one in places.split(",")]
    for one in hosts:
        if one is None or (one["port"] and not 0 < int(one["port"]) < 65536):
            raise ValueError(
                "expected postgresql://user@host:port/name, with a port from 1 to 65535 and an "
                "IPv6 address in brackets, as in [::1]:5432"
            )
    if query:
        _check_options(query)
    if len(hosts) < 2:
        return rest
    names = ",".join((one["name"] or "").strip("[]") for one in hosts if one)
    ports = ",".join(one["port"] or "" for one in hosts if one)
    several = f"host={names}&port={ports}" + (f"&{query}" if query else "")
    return f"{user}{at}{slash or '/'}{name}?{several}"


def _check_options(query: str) -> None:
    """ValueError for an option that libpq does not know."""
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(f"postgresql:///?{query}")
    except Error as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"expected options of libpq behind the ?: {said}") from None


def base_url(text: str) -> str:
    """Scheme and host of a vendor, without a slash at the end; ValueError for anything else."""
    parts, host = _url(text)
    if not _HOST.fullmatch(host) or not text.isprintable() or " " in text:
        raise ValueError("expected a URL such as https://app.example.com")
    if "@" in text or "?" in text or "#" in text:
        raise ValueError("expected scheme and host only, no user, no ? and no #")
    if parts.path.strip("/"):
        raise ValueError(f'expected scheme and host only: etl adds paths such as "{parts.path}"')
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("expected https://; http:// would send the key in the clear")
    return f"{parts.scheme}://{parts.netloc.lower().rstrip(':')}"


def proxy_url(text: str) -> str:
    """The URL of a proxy, which may hold user and password; ValueError, without it, for others."""
    url = text if "://" in text else f"http://{text}"
    parts, host = _url(url)
    if parts.scheme.startswith("socks"):
        raise ValueError("expected http://host:port; SOCKS is not supported")
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ValueError("expected the URL of a proxy, http://host:port")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("expected http://host:port only; @ : / and % in a password are encoded")
    return url.rstrip("/")


def _open_proxy_url(text: str) -> str:
    url = proxy_url(text)
    if "@" in url:
        raise ValueError(
            "a proxy with a user or a password is a secret; "
            'write proxy = { env = "NAME" } or { file = "path" }'
        )
    return url


def _url(text: str) -> tuple[SplitResult, str]:
    """The parts and the host, which is empty when the text is no URL or its port no port."""
    try:
        parts = urlsplit(text)
        host = "" if parts.port == 0 else parts.hostname or ""
    except ValueError:
        return SplitResult("", "", "", "", ""), ""
    return parts, host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _schedule(text: str) -> str:
    cron_trigger(text, "UTC")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'no time zone is called {text!r}; write e.g. "Europe/Berlin"') from None
    return text


def _rate_limit(text: str) -> str:
    window_of(text)
    return text


def _schema_name(text: str) -> str:
    """A name that Postgres takes for a schema."""
    if not text.isprintable() or text.startswith("pg_") or len(text.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"expected the name of a schema: at most {MAX_NAME_BYTES} bytes, no pg_…")
    return text


DatabaseUrl = Annotated[str, AfterValidator(database_url)]
SchemaName = Annotated[str, Field(min_length=1), AfterValidator(_schema_name)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
Schedule = Annotated[str, AfterValidator(_schedule)]
Timezone = Annotated[str, AfterValidator(_timezone)]
RateLimit = Annotated[str, AfterValidator(_rate_limit)]
OpenProxyUrl = Annotated[str, AfterValidator(_open_proxy_url)]
SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Table(BaseModel):
    """A table of the file: no key but its own, no value of another type, never shown in errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class SecretTable(Table):
    """Where a secret is: an environment variable, or a file that only its owner may read."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["env"]}, {"required": ["file"]}]}
    )

    env: str | None = Field(
        default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", description="environment variable"
    )
    file: str | None = Field(
        default=None, min_length=1, description="file, relative to this one; chmod 600"
    )

    @model_validator(mode="after")
    def one_place(self) -> "SecretTable":
        """A secret is in exactly one place."""
        if (self.env is None) == (self.file is None):
            raise ValueError("one of env and file")
        return self


URL_KINDS = ("a text", "a place")
DatabaseUrlOrPlace = Annotated[
    Annotated[DatabaseUrl, Tag(URL_KINDS[0])] | Annotated[SecretTable, Tag(URL_KINDS[1])],
    Discriminator(lambda value: URL_KINDS[isinstance(value, dict | SecretTable)]),
]

Proxy = Annotated[
    Annotated[OpenProxyUrl, Tag("url")] | Annotated[SecretTable, Tag("secret")],
    Discriminator(lambda value: "url" if isinstance(value, str) else "secret"),
]


class DatabaseTable(Table):
    """The database etl writes to."""

    url: DatabaseUrlOrPlace = Field(
        default=DEFAULT_DATABASE_URL,
        description="sqlite:///path or postgresql://user@host/name, without a password; "
        '{ env = "NAME" } or { file = "path" } for one with; ETL_DATABASE_URL wins',
    )
    file_mode: str = Field(
        default="0600",
        pattern=r"^0?[0-7]{3}$",
        description="permissions of a new SQLite file, in octal; 0640 lets a group read it",
    )
    schema_name: SchemaName | None = Field(
        default=None,
        alias="schema",  # a name that pydantic's own tables have
        description="Postgres schema of etl's tables; default: where they are, else public",
    )


class SecurityTable(Table):
    """What protects the SDK keys that LaunchDarkly sends along."""

    fingerprint_key: SecretTable | None = Field(
        default=None,
        description="key of the digests that stand for SDK keys in the database; with an own one "
        "they cannot be linked to those of another installation",
    )


class LimitsTable(Table):
    """How much one source may ask, wait and delete."""

    concurrency: int | None = Field(
        default=None, ge=1, description="requests in flight; default: what suits the provider"
    )
    patience: float = Field(
        default=120.0, ge=0, description="seconds to wait for one rate limit before a run parks"
    )
    attempts: int = Field(default=6, ge=1, description="tries of one request")
    timeout: float = Field(default=60.0, gt=0, description="seconds for one whole response")
    max_body_mb: int = Field(
        default=8, ge=1, description="largest response in MiB; a run takes up to 20 times as much"
    )
    rate_limits: list[RateLimit] | None = Field(
        default=None,
        description='windows shared by all processes, e.g. ["100/10s", "900/15min"]; '
        "default: what the provider documents",
    )
    reserve_percent: float = Field(
        default=10.0, ge=0, le=90, description="share of them left to other users of the account"
    )
    delete_percent: float = Field(
        default=20.0,
        ge=0,
        le=100,
        description="deletions of more than this share of a stream are held back ...",
    )
    delete_count: int = Field(
        default=10, ge=0, description="... when they are also more than this many"
    )
    delete_confirmations: int = Field(
        default=50, ge=0, description="deletions asked about one by one, a run and stream"
    )
    resume_within: float = Field(
        default=21600.0, ge=0, description="seconds for which a parked run may be continued"
    )


class ArchiveTable(Table):
    """Keeps every answer of the vendor, redacted, for `reprocess` and `backfill --from-archive`."""

    dir: str | None = Field(
        default=None,
        min_length=1,
        description="folder, in which each source has its own; default: no archive",
    )
    keep_days: float | None = Field(
        default=None, gt=0, description="runs older than this are taken away; default: never"
    )
    keep_mb: float | None = Field(
        default=None, gt=0, description="the oldest runs beyond this size, too; default: any size"
    )


class RetentionTable(Table):
    """What `etl prune` takes away."""

    runs_days: float = Field(
        default=90.0, gt=0, description="runs without changes and resolved rejects older than this"
    )
    history_days: float | None = Field(
        default=None,
        gt=0,
        description="closed versions and change events older than this; default: never",
    )


class NoticesTable(Table):
    """Who is told of failures, stale data, held-back deletions, rotated keys, drift, recovery."""

    urls: list[SecretTable] = Field(
        default=[],
        description='Apprise URLs, as { env = "NAME" } or { file = "path" }, never themselves',
    )
    stale_hours: float = Field(
        default=24.0, gt=0, description="a last complete snapshot that is older is told"
    )


class SourceTable(Table):
    """One account, project or organisation of a provider; its streams' tables are added below."""

    provider: str = Field(description="the vendor")
    api_key: SecretTable | None = Field(
        default=None, description='{ env = "NAME" } or { file = "path" }, never the key itself'
    )
    base_url: BaseUrl | None = Field(
        default=None, description="https://host; default: the provider's"
    )
    proxy: Proxy | None = Field(
        default=None,
        description='proxy for all requests of the source: "http://host:port"; with a password '
        '{ env = "NAME" } or { file = "path" }; HTTPS_PROXY alone is not used',
    )
    schedule: Schedule | None = Field(
        default=None, description="cron line for `etl schedule`: minute hour day month weekday"
    )
    timezone: Timezone = Field(
        default="UTC", description="time zone of the schedule, e.g. Europe/Berlin"
    )
    limits: LimitsTable = Field(default=LimitsTable(), description="how much it may ask and delete")
    archive: ArchiveTable = Field(default=ArchiveTable(), description="keep the answers themselves")


class FileTable(Table):
    """The whole file; `sources` is narrowed to what PROVIDERS offer by file_table()."""

    database: DatabaseTable = Field(default=DatabaseTable(), description="where etl writes to")
    security: SecurityTable = Field(default=SecurityTable(), description="SDK keys")
    retention: RetentionTable = Field(
        default=RetentionTable(), description="what `etl prune` takes"
    )
    notices: NoticesTable = Field(default=NoticesTable(), description="who is told, and when")
    sources: dict[str, Any] = Field(default={}, description="what etl reads, by a name of yours")


@cache
def source_table(provider: str) -> type[SourceTable]:
    """The table of a source of this provider: one more table a stream, the stream's options."""
    fields: dict[str, Any] = {
        stream.name: (
            stream.options,
            Field(default_factory=stream.options, description=stream.options.__doc__),
        )
        for stream in PROVIDERS[provider].streams
    }
    fields["provider"] = (Literal[provider], Field(description="the vendor"))
    return create_model(f"{provider}_source", __base__=SourceTable, **fields)


@cache
def file_table() -> type[FileTable]:
    """The table of the whole file, with the sources of every provider."""
    tables: Any = Union[tuple(map(source_table, PROVIDERS))]  # noqa: UP007 - not known to types
    sources: Any = dict[SourceName, Annotated[tables, Field(discriminator="provider")]]
    return create_model(
        "file", __base__=FileTable, sources=(sources, FileTable.model_fields["sources"])
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "etl configuration",
        **_tidy(file_table().model_json_schema()),
    }


def _tidy(schema: Any) -> Any:
    """The schema without what TOML has not (null) and what Python made up (titles)."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: _tidy(part)
        for name, part in schema.items()
        if part is not None and not (name == "title" and isinstance(part, str))
    }
    choices = kept.get("anyOf", ())
    return {**choices[0], **_without(kept, "anyOf")} if len(choices) == 1 else kept


def _without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: part for name, part in table.items() if name != key}
