"""`etl sandbox`, `etl demo`: the provider simulator, and a tour of etl with it."""

import json
import re
import shlex
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli import changes, sync, terminal
from etl.cli.terminal import out
from etl.errors import ConfigError
from etl.model import exit_code_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.config.settings import Settings
    from etl.sandbox import Sandbox

PORT = 8765
VARIABLES = {
    "launchdarkly": "SANDBOX_LAUNCHDARKLY_KEY",
    "statsig": "SANDBOX_STATSIG_KEY",
    "layers": "SANDBOX_LAYERS_KEY",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(sandbox)
    app.command()(demo)


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen, on loopback; 0: any free port.")
    ] = PORT,
    scenario: Annotated[
        Path | None, typer.Option(help="TOML or JSON: seed, sizes, faults, rate limits, latency.")
    ] = None,
) -> None:
    """Run the provider simulator: the three APIs on one port, with made-up data."""
    from etl.sandbox import serve

    try:
        serve(port, host="127.0.0.1", scenario=scenario, ready=_invite)
    except (ValueError, OSError) as error:
        raise ConfigError(f"the sandbox cannot start: {error}") from None


def _invite(server: "Sandbox") -> None:
    out.print(f"the sandbox listens on {server.url}; ctrl-c ends it", markup=False)
    out.print("keys (made up, of no use elsewhere):")
    for name, key in _keys().items():
        out.print(f"  export {name}={key}", markup=False, soft_wrap=True)
    out.print(f"let some things happen: curl -X POST {server.url}/_sandbox/evolve", markup=False)


def demo(
    folder: Annotated[
        Path, typer.Option(readable=False, help="Where to put demo.db and demo.toml.")
    ] = Path(),
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the demo that is there and its history.")
    ] = False,
) -> None:
    """Sync three simulated providers, let them change, sync again, and show what can be asked."""
    from etl.operations.sync import open_database
    from etl.sandbox import Sandbox

    config = folder / "demo.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stale = _earlier_demo(folder)
        if stale and not replace:
            terminal.say(
                f"The demo in {folder / 'demo.db'} is kept, with its history; "
                "`etl demo --replace` starts over."
            )
            _next_steps(folder)
            return
        for path in stale:
            path.unlink()
        with Sandbox() as server:
            settings = _settings(folder, server.url)
            engine = open_database(settings)
            try:
                _tour(server, settings, engine)
            finally:
                engine.dispose()
        _write(config, _config(folder, f"http://127.0.0.1:{PORT}"))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from None
    _next_steps(folder)


def _earlier_demo(folder: Path) -> list[Path]:
    """The files of an earlier demo; ConfigError where one of those names is somebody else's."""
    database, config = folder / "demo.db", folder / "demo.toml"
    beside = [database.with_name(f"{database.name}-{end}") for end in ("wal", "shm", "journal")]
    found = [path for path in (database, *beside, config) if path.exists() or path.is_symlink()]
    ours = [*([database, *beside] if _is_demo(database) else []), config]
    if config in found and not _is_demo_config(config, folder):
        ours.remove(config)
    foreign = [path for path in found if path.is_symlink() or path not in ours]
    if foreign:
        raise ConfigError(
            f"{foreign[0]} is not of `etl demo`, and stays as it is; "
            "name another folder: etl demo --folder NAME"
        )
    return found


def _is_demo(database: Path) -> bool:
    """Whether the file holds the sources of the demo and no others; nothing else writes those."""
    if not database.is_file():
        return False
    if database.stat().st_size == 0:
        return True
    at_rest = not database.with_name(f"{database.name}-wal").exists()  # then looking leaves no file
    uri = f"{database.absolute().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as one:
            names = {name for (name,) in one.execute("SELECT DISTINCT source FROM runs")}
    except sqlite3.Error:
        return False
    return names <= {f"demo-{provider}" for provider in VARIABLES}


def _is_demo_config(path: Path, folder: Path) -> bool:
    """Whether the file is as the demo wrote it, whatever the port was."""
    from etl.config.settings import MAX_CONFIG_BYTES
    from etl.files import text_in

    try:
        text = text_in(path, most=MAX_CONFIG_BYTES)
    except (OSError, ValueError):
        return False
    return _URL.sub("", text) == _URL.sub("", _config(folder, "http://127.0.0.1:0"))


_URL = re.compile(r"http://127\.0\.0\.1:\d+")


def _tour(server: "Sandbox", settings: "Settings", engine: "Engine") -> None:
    _title("1. The first sync: three providers into one schema")
    _sync_all(settings, engine)
    _title("2. The providers change: records are created, edited, renamed and deleted")
    for line in _happened(server):
        terminal.say(" ", line)
    _title("3. The second sync finds exactly that")
    _sync_all(settings, engine)
    _title("4. The third one finds nothing, and so writes nothing")
    _sync_all(settings, engine)
    _title("5. The change feed, field by field: `etl changes --stream projects`")
    from etl.history import runs

    with engine.connect() as connection:
        wanted = runs.Filter(stream="projects", run_id=4)
        changes.write(runs.change_feed(connection, wanted), "table")
        _title("6. A report in SQL: how full are LaunchDarkly's layers?")
        _report(connection, CAPACITY)
        _title("7. Another: one inventory for three vendors")
        _report(connection, INVENTORY)


CAPACITY = """\
SELECT project_key, layer_key, environment_key, experiments, used_percent, free_percent
FROM layer_capacity ORDER BY used_percent DESC, project_key, layer_key, environment_key LIMIT 8"""
INVENTORY = """\
SELECT provider, COUNT(*) AS projects, SUM(environments) AS environments, SUM(layers) AS layers
FROM project_inventory GROUP BY provider ORDER BY provider"""

TEXTS = ("provider", "project_key", "layer_key", "environment_key")


def _sync_all(settings: "Settings", engine: "Engine") -> None:
    from etl.operations.sync import RunOptions
    from etl.operations.sync import sync as sync_one

    reports = []
    for name in settings.sources:
        reports.append(sync_one(engine, settings, name, RunOptions()))
        sync.show(reports[-1])
    if exit_code_of(reports):
        raise typer.Exit(exit_code_of(reports))


def _happened(server: "Sandbox") -> list[str]:
    """What the sandbox did, one line a stream."""
    from collections import Counter

    done = server.world.evolve(changed=0.03)
    counts = Counter(((one.provider, one.stream), one.operation) for one in done)
    streams = dict.fromkeys(stream for stream, _ in counts)
    return [
        f"{' '.join(stream)}: "
        + ", ".join(f"{n} {operation}" for (of, operation), n in counts.items() if of == stream)
        for stream in streams
    ]


def _report(connection: object, query: str) -> None:
    from sqlalchemy import Connection, text

    if not isinstance(connection, Connection):
        raise TypeError("a connection is needed")
    found = connection.execute(text(query))
    for line in query.splitlines():
        terminal.say(" ", line, style=terminal.DULL)
    columns = [name if name in TEXTS else f"{name}#" for name in found.keys()]  # noqa: SIM118
    out.print(terminal.table(columns, found.all()))


def _title(text: str) -> None:
    out.print()
    terminal.say(text, style="bold cyan")


def _keys() -> Mapping[str, str]:
    from etl.sandbox import KEYS

    return {variable: KEYS[provider] for provider, variable in VARIABLES.items()}


def _settings(folder: Path, url: str) -> "Settings":
    from etl.config.settings import load

    path = folder / "demo.toml"
    _write(path, _config(folder, url))
    return load(path, environ=_keys())


def _write(path: Path, text: str) -> None:
    from etl.files import whole_file

    with whole_file(path, force=True) as file:
        file.write(text.encode())


def _config(folder: Path, url: str) -> str:
    url_of_database = json.dumps(f"sqlite:///{folder / 'demo.db'}", ensure_ascii=False)
    parts = [f"[database]\nurl = {url_of_database}\n"]
    parts += [
        f'[sources.demo-{provider}]\nprovider = "{provider}"\n'
        f'api_key = {{ env = "{variable}" }}\nbase_url = "{url}"\n'
        for provider, variable in VARIABLES.items()
    ]
    return "\n".join(parts)


def _next_steps(folder: Path) -> None:
    etl = f"etl --config {shlex.quote(str(folder / 'demo.toml'))}"
    _title("What to try next")
    for command, meaning in (
        ("source .venv/bin/activate", "puts the command etl on your path"),
        (f"{etl} status", "how fresh every stream is"),
        (f"{etl} changes", "the whole change feed; --format csv or jsonl too"),
        (f"{etl} report", "the ready reports; each also --as-of a moment"),
        (f"{etl} web", "the same in a browser, at http://127.0.0.1:8080; ctrl-c ends it"),
        (f"{etl} history projects payments", "the life of one record"),
        (f"{etl} report changes --format html --out week.html", "the same with proofs, a page"),
        (
            f"sqlite3 {shlex.quote(str(folder / 'demo.db'))}",
            "the tables and views of docs/schema.md",
        ),
        ("etl sandbox", f"the simulator again, with the keys to export; then {etl} sync"),
        ("etl init", "your own configuration; then etl check, etl sync"),
    ):
        terminal.say(f"  {command:<68}", meaning)
