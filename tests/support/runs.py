"""Settings for a sandbox, and runs of its sources: a test names only what it is about."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from etl.config.settings import Settings, load
from etl.extract.pages import PageReader
from etl.model import RunReport, StreamReport
from etl.operations import sync as app
from etl.pipeline.live_processes import lives, this_process
from etl.pipeline.run import RunContext, run
from etl.providers.kit import Traffic
from etl.sandbox import KEYS, Sandbox, Sizes, World

SOURCES = {"ld": "launchdarkly", "st": "statsig", "ly": "layers"}
LIMITS = {"attempts": 1}  # no test waits for a second try

BIG_PROJECT = Sizes().ld_big_project
SMALL = Sizes(
    ld_projects=5,
    ld_environments=2,
    ld_big_project=0,
    ld_layers=4,
    statsig_layers=25,
    layers_projects=12,
)
START = datetime(2026, 11, 1, tzinfo=UTC)


def small(seed: int = 7, *, big_project: bool = False) -> World:
    """A world with every special case of payloads.

    big_project: its second project has more environments than LaunchDarkly sends inside a project.
    """
    return World(seed, replace(SMALL, ld_big_project=BIG_PROJECT) if big_project else SMALL)


def environ(**keys: str) -> dict[str, str]:
    """The environment with the keys of all sources; a source may have another one."""
    return {f"KEY_{name}": keys.get(name, KEYS[provider]) for name, provider in SOURCES.items()}


def config_text(sandbox: Sandbox, database: str = "sqlite:///unused.db", **tables: Any) -> str:
    """A configuration of all three sources; `ld={"layers": {"filter": ...}}` adds to one."""
    lines = ["[database]", f"url = {json.dumps(database)}"]
    for name, provider in SOURCES.items():
        lines += [f"[sources.{name}]", f'provider = "{provider}"']
        lines += [f'api_key = {{ env = "KEY_{name}" }}', f'base_url = "{sandbox.url}"']
        given = tables.get(name, {})
        for table, values in {**given, "limits": LIMITS | given.get("limits", {})}.items():
            lines += [f"[sources.{name}.{table}]", *_toml(values)]
    return "\n".join(lines)


def settings_for(
    sandbox: Sandbox, *, keys: Mapping[str, str] | None = None, **tables: Any
) -> Settings:
    """The settings of all three sources at that sandbox."""
    return _loaded(config_text(sandbox, **tables), environ(**(keys or {})))


def settings_of(
    sources: Mapping[str, str],
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    *,
    key: str = "k",
) -> Settings:
    """The settings of sources (name -> provider) without a network; tables: by source and name."""
    lines = ["[database]", 'url = "sqlite:///unused.db"']
    for name, provider in sources.items():
        lines += [f"[sources.{name}]", f'provider = "{provider}"', 'api_key = { env = "KEY" }']
        for table, values in (tables or {}).get(name, {}).items():
            lines += [f"[sources.{name}.{table}]", *_toml(values)]
    return _loaded("\n".join(lines), {"KEY": key})


def _loaded(text: str, variables: Mapping[str, str]) -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "etl.toml"
        path.write_text(text)
        return load(path, environ=variables)


def run_with(
    engine: Engine,
    settings: Settings,
    name: str,
    reader: PageReader,
    *,
    clock: Callable[[], datetime],
    traffic: Traffic | None = None,
    **wish: Any,
) -> RunReport:
    """One run of a source whose requests `reader` answers, without a network."""
    shell = RunContext(
        engine=engine,
        reader=reader,
        traffic=traffic or Traffic(),
        holder=this_process(),
        alive=lives,
        clock=clock,
    )
    return run(app.job_of(settings.sources[name], settings, app.RunOptions(**wish)), shell)


def sync(
    engine: Engine, settings: Settings, name: str, at: datetime | None = None, **wish: Any
) -> RunReport:
    """One run of one source; with `at`, all of it happens at that moment."""
    clock = app.utc_now if at is None else lambda: at
    return app.sync(engine, settings, name, app.RunOptions(**wish), clock=clock)


def sync_all(engine: Engine, settings: Settings, at: datetime | None = None) -> list[RunReport]:
    """One good run of every source."""
    reports = [sync(engine, settings, name, at) for name in settings.sources]
    told = [(r.source, r.status, r.error, r.streams) for r in reports if r.exit_code]
    assert not told
    return reports


def hour(number: int) -> datetime:
    """The n-th moment of a story."""
    return START + timedelta(hours=number)


def ended(
    at: datetime, source: str, status: str = "ok", exit_code: int = 0, **more: Any
) -> RunReport:
    """A run that ended so."""
    return RunReport(
        run_id=1,
        source=source,
        provider="layers",
        kind="sync",
        status=status,
        exit_code=exit_code,
        started_at=at,
        finished_at=at,
        **more,
    )


def of(report: RunReport, stream: str) -> StreamReport:
    """What the report says of that stream."""
    return next(found for found in report.streams if found.stream == stream)


def asked(sandbox: Sandbox, part: str = "") -> list[str]:
    """The targets that were asked for, those with that text in them."""
    targets = [f"{seen.path}?{seen.query}" for seen in sandbox.requests]
    return [target for target in targets if part in target]


def _toml(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]


def elsewhere(settings: Settings, url: str) -> Settings:
    """The same settings with every source at another address."""
    moved = {name: replace(source, base_url=url) for name, source in settings.sources.items()}
    return replace(settings, sources=moved)
