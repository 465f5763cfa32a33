"""Settings: the configuration file and the environment, read once into frozen values.

The one module that reads the environment. What may stand in the file is said in config_file.
"""

import os
import stat
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import SecretStr, ValidationError

from etl.config.file import (
    ArchiveTable,
    FileTable,
    LimitsTable,
    NoticesTable,
    RetentionTable,
    SecretTable,
    SourceTable,
    database_url,
    file_table,
    json_schema,
    proxy_url,
)
from etl.config.messages import (
    Key,
    Problem,
    config_error,
    line_of,
    listed,
    problems_of,
    secret_form,
    syntax_error,
)
from etl.config.secrets import secret_at, secrets_at
from etl.errors import ConfigError
from etl.files import text_in
from etl.json_text import did_you_mean, nearest
from etl.providers import OURS, PROVIDERS
from etl.providers.kit import Json, Options
from etl.redaction import has_password, masked, protect_url

__all__ = [
    "LimitSettings",
    "Settings",
    "SourceSettings",
    "example",
    "json_schema",
    "load",
    "masked",
    "secret",
]

DEFAULT_PATH = Path("config/etl.toml")
BETWEEN_SOURCES = "\n\n\n"  # of the example

# Keys the digests that stand for SDK keys in the database. Not secret, and need not be: an SDK key
# has enough entropy that its digest cannot be guessed. With a key of their own, the digests of two
# installations cannot be linked.
DEFAULT_FINGERPRINT_KEY = "etl/fingerprint/1"

_DATABASE_URL: Key = ("database", "url")
_PROXY_VARIABLES = (
    *("HTTPS_PROXY", "https_proxy"),
    *("ALL_PROXY", "all_proxy"),
    *("HTTP_PROXY", "http_proxy"),
)
_NOTICE_URLS: Key = ("notices", "urls")
_FINGERPRINT_KEY: Key = ("security", "fingerprint_key")
_MIB = 1024 * 1024
MAX_CONFIG_BYTES = _MIB  # of a configuration: thousands of sources


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How much one source may ask, wait and delete: [sources.NAME.limits]."""

    concurrency: int | None = None
    patience: float = 120.0
    attempts: int = 6
    timeout: float = 60.0
    max_body: int = 8 * _MIB
    rate_limits: tuple[str, ...] | None = None
    reserve_percent: float = 10.0
    delete_percent: float = 20.0
    delete_count: int = 10
    delete_confirmations: int = 50
    resume_within: float = 21600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """Where the answers of one source are kept, and how long: [sources.NAME.archive]."""

    folder: Path
    keep_days: float | None = None
    keep_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """One source: [sources.NAME]. `options` has an entry for every stream of the provider.

    ignored_proxies: the environment variables that name a proxy, where the source names none.
    """

    name: str
    provider: str
    api_key: SecretStr
    base_url: str
    proxy: SecretStr | None = None
    ignored_proxies: tuple[str, ...] = ()
    schedule: str | None
    timezone: str = "UTC"
    options: Mapping[str, Options]
    limits: LimitSettings
    archive: ArchiveSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """After how long `etl prune` takes things away: [retention]; history only when it is said."""

    runs: timedelta = timedelta(days=90)
    history: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSettings:
    """Where notices go, and after how long data is stale: [notices].

    urls: where an Apprise URL is said to be (`env NAME`, `file PATH`) -> that URL.
    """

    urls: Mapping[str, SecretStr] = field(default_factory=dict)
    stale_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableSource:
    """A source whose key is missing or cannot be used, and why."""

    provider: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration; shows neither a secret nor the password of the database.

    database_file_mode: the permissions of a new SQLite file. warnings: what a person should change.
    unusable: the sources that are left out, by name.
    """

    path: Path | None
    database_url: str
    database_schema: str | None = None
    sources: Mapping[str, SourceSettings]
    fingerprint_key: SecretStr
    retention: RetentionSettings = RetentionSettings()
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    unusable: Mapping[str, UnusableSource] = field(default_factory=dict)
    database_file_mode: int = 0o600
    warnings: Sequence[str] = ()

    def __repr__(self) -> str:
        return (
            f"Settings(path={self.path!r}, database_url={masked(self.database_url)!r}, "
            f"sources={dict(self.sources)!r}, fingerprint_key={self.fingerprint_key!r})"
        )


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    only: Collection[str] = (),
    secrets: bool | Literal["fingerprint"] = True,
    notices: bool | None = None,
    lenient: bool = False,
) -> Settings:
    """The settings of this file and environment; ConfigError names everything that is wrong.

    `only`: the sources to resolve, all when empty. Without `secrets` no key is looked for, and
    no URL of notices either, unless `notices` says so; "fingerprint": only the key of
    fingerprints. `lenient`: sources without a usable key are
    left out and named in `Settings.unusable`, unless no source has one.
    """
    environ = os.environ if environ is None else environ
    _protect_variables(environ)
    path = path or Path(environ.get("ETL_CONFIG") or DEFAULT_PATH)
    text = _text(path)
    table = _table(path, text)
    asked = _asked(path, table, only)
    keyed = asked if secrets is True else {}
    places = _places(table, keyed) if secrets else {}
    places |= _database_place(table, environ)
    if secrets is True if notices is None else notices:
        places |= _notice_places(table)
    found, problems = secrets_at(places, path.parent, environ)
    proxies, wrong = _proxies(asked, found)
    problems += wrong
    if secrets and not asked:
        problems.append(Problem(("sources",), "there is none; add a table [sources.NAME]"))
    unusable = _unusable(str(path), text, problems, asked) if lenient else {}
    if problems and (set(unusable) == set(asked) or not _only_keys(problems, lenient=lenient)):
        raise config_error(str(path), text, problems)
    return Settings(
        path=path,
        unusable=MappingProxyType(unusable),
        database_url=_database_url(path, table, found, environ),
        database_schema=table.database.schema_name,
        database_file_mode=int(table.database.file_mode, 8),
        warnings=tuple(_warnings(path, text, table)),
        sources=MappingProxyType(
            {
                name: replace(
                    _source(path, name, source, found),
                    proxy=proxies.get(name),
                    ignored_proxies=() if name in proxies else _named_proxies(environ),
                )
                for name, source in asked.items()
                if name not in unusable
            }
        ),
        fingerprint_key=found.get(_FINGERPRINT_KEY, SecretStr(""))
        if table.security.fingerprint_key
        else SecretStr(DEFAULT_FINGERPRINT_KEY),
        retention=_retention(table.retention),
        notices=_notices(table.notices, found),
    )


def secret(
    what: str,
    *,
    env: str | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> SecretStr:
    """A secret that an option names: in the environment, or a file that only its owner may read."""
    try:
        place = SecretTable(env=env, file=None if file is None else str(file))
    except ValidationError:
        raise ConfigError(f"{what}: name one environment variable or one file") from None
    try:
        return secret_at(place, Path(), os.environ if environ is None else environ)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from None


def example(providers: Collection[str] = ()) -> str:
    """The commented configuration that `etl init` writes, with a source of each provider.

    providers: of these only; default: of all. Of those that other packages bring the file has only
    what every source needs.
    """
    text = files("etl.config").joinpath("template.toml").read_text(encoding="utf-8")
    head, *parts = text.rstrip("\n").split(BETWEEN_SOURCES)
    parts += [_section(name) for name in PROVIDERS if name not in OURS]
    wanted = [
        part
        for part in parts
        if not providers or any(f'provider = "{name}"' in part for name in providers)
    ]
    return BETWEEN_SOURCES.join([head, *wanted]) + "\n"


def _section(provider: str) -> str:
    variable = f"{provider.upper().replace('-', '_')}_API_KEY"
    lines = f"""
[sources.acme-{provider}]
provider = "{provider}"
api_key = {{ env = "{variable}" }}
schedule = "0 6 * * *"
"""
    return lines.strip()


def _protect_variables(environ: Mapping[str, str]) -> None:
    """No password of a URL in the environment is ever told: of the database, of a proxy."""
    for value in environ.values():
        if "://" in value:
            protect_url(value)
    protect_url(environ.get("ETL_DATABASE_URL", ""))


def _protect_values(value: Json) -> None:
    """No password of a URL in the file is ever told, at whatever key it stands."""
    if isinstance(value, str) and "://" in value:
        protect_url(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _protect_values(inner)


def _text(path: Path) -> str:
    try:
        return text_in(path, most=MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `etl init` writes one") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except ValueError:
        raise ConfigError(
            f"{path}: larger than a configuration may be ({MAX_CONFIG_BYTES:,} bytes)"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _table(path: Path, text: str) -> FileTable:
    """The checked file. Causes are cut off: they hold what was found, which may be a secret."""
    try:
        data = tomllib.loads(text)
        _protect_values(data)
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(str(path), text, error) from None
    except (ValueError, RecursionError):  # tomllib lets these through
        raise ConfigError(
            f"{path}: not valid TOML: a number too long, or lists or tables too deep"
        ) from None
    problems = list(_provider_problems(data))
    try:
        table = file_table().model_validate(_with_known_providers(data))
    except ValidationError as error:
        raise config_error(str(path), text, problems + problems_of(error)) from None
    if problems:
        raise config_error(str(path), text, problems)
    return table


def _source_tables(data: Json) -> dict[str, Json]:
    sources = data.get("sources", {})
    return sources if isinstance(sources, dict) else {}


def _provider_problems(data: Json) -> Iterator[Problem]:
    """The sources whose provider is missing or unknown."""
    for name, source in _source_tables(data).items():
        if isinstance(source, dict) and "provider" not in source:
            yield Problem(("sources", name, "provider"), f"missing; one of {listed(PROVIDERS)}")
        elif isinstance(source, dict) and not _known_provider(source["provider"]):
            hint = did_you_mean(str(source["provider"]), PROVIDERS)
            message = f"unknown; etl knows {listed(PROVIDERS)}{hint}"
            yield Problem(("sources", name, "provider"), message)


def _known_provider(name: object) -> bool:
    return isinstance(name, str) and name in PROVIDERS


def _with_known_providers(data: Json) -> Json:
    """The file with the nearest provider for a misspelt one, so that the rest is checked too.

    A source with no provider near is left out: the provider says which keys there may be.
    """
    kept = {}
    for name, source in _source_tables(data).items():
        if isinstance(source, dict) and not _known_provider(source.get("provider")):
            near = nearest(str(source.get("provider")), PROVIDERS)
            if near:
                kept[name] = {**source, "provider": near}
        else:
            kept[name] = source
    return {**data, "sources": kept} if isinstance(data.get("sources"), dict) else data


def _asked(path: Path, table: FileTable, only: Collection[str]) -> dict[str, SourceTable]:
    """The sources of these names, or all; ConfigError for a name that the file has not."""
    unknown = [name for name in only if name not in table.sources]
    if unknown:
        raise ConfigError(
            "\n".join(
                f"{path}: no source {name}{did_you_mean(name, table.sources)}; "
                f"the file has {listed(table.sources)}"
                for name in unknown
            )
        )
    return {name: source for name, source in table.sources.items() if not only or name in only}


def _places(table: FileTable, asked: Mapping[str, SourceTable]) -> dict[Key, SecretTable | str]:
    """Where each secret is; for a source that does not say, what to write."""
    places: dict[Key, SecretTable | str] = {
        ("sources", name, "api_key"): source.api_key
        or f"missing; {secret_form('api_key', f'{source.provider.upper()}_API_KEY')}"
        for name, source in asked.items()
    }
    places |= {
        ("sources", name, "proxy"): source.proxy
        for name, source in asked.items()
        if isinstance(source.proxy, SecretTable)
    }
    if table.security.fingerprint_key:
        places[_FINGERPRINT_KEY] = table.security.fingerprint_key
    return places


def _proxies(
    asked: Mapping[str, SourceTable], found: Mapping[Key, SecretStr]
) -> tuple[dict[str, SecretStr], list[Problem]]:
    """The proxy of each source that has one, and the secrets that are no URL of a proxy."""
    proxies: dict[str, SecretStr] = {}
    problems: list[Problem] = []
    for name, source in asked.items():
        key: Key = ("sources", name, "proxy")
        if isinstance(source.proxy, str):
            proxies[name] = SecretStr(source.proxy)
        elif key in found:
            try:
                proxies[name] = SecretStr(proxy_url(found[key].get_secret_value()))
            except ValueError as error:
                problems.append(Problem(key, str(error)))
    return proxies, problems


def _named_proxies(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in _PROXY_VARIABLES if environ.get(name))


def _notice_places(table: FileTable) -> dict[Key, SecretTable | str]:
    return {(*_NOTICE_URLS, number): url for number, url in enumerate(table.notices.urls)}


def _unusable(
    file: str, text: str, problems: Sequence[Problem], asked: Mapping[str, SourceTable]
) -> dict[str, UnusableSource]:
    """The sources that have no usable key."""
    return {
        name: UnusableSource(
            provider=asked[name].provider, why=str(config_error(file, text, [problem]))
        )
        for problem in problems
        if _of_source(problem.key) and (name := str(problem.key[1]))
    }


def _only_keys(problems: Sequence[Problem], *, lenient: bool) -> bool:
    return lenient and all(_of_source(one.key) for one in problems)


def _of_source(key: Key) -> bool:
    return len(key) == 3 and key[0] == "sources"


def _source(
    path: Path, name: str, table: SourceTable, found: Mapping[Key, SecretStr]
) -> SourceSettings:
    provider = PROVIDERS[table.provider]
    return SourceSettings(
        name=name,
        provider=provider.name,
        api_key=found.get(("sources", name, "api_key"), SecretStr("")),
        base_url=table.base_url or provider.base_url,
        schedule=table.schedule,
        timezone=table.timezone,
        options=MappingProxyType(
            {stream.name: getattr(table, stream.name) for stream in provider.streams}
        ),
        limits=_limits(table.limits),
        archive=_archive(path, name, table.archive),
    )


def _archive(path: Path, name: str, table: ArchiveTable) -> ArchiveSettings | None:
    if table.dir is None:
        return None
    try:
        folder = Path(table.dir).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path}: sources.{name}.archive.dir: {table.dir}: there is no such home; write the "
            "whole path"
        ) from None
    return ArchiveSettings(
        folder=folder / name,
        keep_days=table.keep_days,
        keep_mb=table.keep_mb,
    )


def _limits(table: LimitsTable) -> LimitSettings:
    return LimitSettings(
        concurrency=table.concurrency,
        patience=table.patience,
        attempts=table.attempts,
        timeout=table.timeout,
        max_body=table.max_body_mb * _MIB,
        rate_limits=None if table.rate_limits is None else tuple(table.rate_limits),
        reserve_percent=table.reserve_percent,
        delete_percent=table.delete_percent,
        delete_count=table.delete_count,
        delete_confirmations=table.delete_confirmations,
        resume_within=table.resume_within,
    )


def _retention(table: RetentionTable) -> RetentionSettings:
    days = table.history_days
    return RetentionSettings(
        runs=timedelta(days=table.runs_days),
        history=None if days is None else timedelta(days=days),
    )


def _notices(table: NoticesTable, found: Mapping[Key, SecretStr]) -> NoticeSettings:
    urls = {
        f"env {place.env}" if place.env else f"file {place.file}": found[*_NOTICE_URLS, number]
        for number, place in enumerate(table.urls)
        if (*_NOTICE_URLS, number) in found
    }
    return NoticeSettings(
        urls=MappingProxyType(urls), stale_after=timedelta(hours=table.stale_hours)
    )


def _database_place(table: FileTable, environ: Mapping[str, str]) -> dict[Key, SecretTable | str]:
    """Where the URL of the database is, unless the environment or the file itself says it."""
    url = table.database.url
    given = environ.get("ETL_DATABASE_URL", "").strip()
    return {} if given or isinstance(url, str) else {_DATABASE_URL: url}


def _database_url(
    path: Path, table: FileTable, found: Mapping[Key, SecretStr], environ: Mapping[str, str]
) -> str:
    where, text = "the environment variable ETL_DATABASE_URL", environ.get("ETL_DATABASE_URL", "")
    if not text.strip():
        if isinstance(table.database.url, str):
            return table.database.url
        where, text = f"{path}: database.url", found[_DATABASE_URL].get_secret_value()
    protect_url(text)
    try:
        return database_url(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _warnings(path: Path, text: str, table: FileTable) -> Iterator[str]:
    """What is accepted, but not safe."""
    url = table.database.url
    if isinstance(url, str) and has_password(url):
        line = line_of(text, _DATABASE_URL)
        readable = ""
        if path.stat().st_mode & stat.S_IROTH:
            readable = f", and everybody on this machine may read the file (chmod 600 {path})"
        yield (
            f"{path}:{line}: database.url: a password stands in the file{readable}; "
            f"keep it in ETL_DATABASE_URL, in {secret_form('url', 'NAME')}, or in ~/.pgpass"
        )
