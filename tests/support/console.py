"""The web console for tests: a database with a past and hostile names, served over real HTTP."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Engine, Text, text

from etl.db.engine import open_reader
from etl.db.types import metadata
from etl.sandbox import Sandbox, World
from etl.web.app import application
from etl.web.connection import ConnectionTimeouts
from etl.web.guard import Guard
from etl.web.server import PATIENCE, listen, server
from tests.support.runs import hour, settings_for, small, sync, sync_all

NOW = hour(100)
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
FORMULA = '=HYPERLINK("http://evil.example","click")'
ESCAPES = "\x1b]0;owned\x07\x1b[31mred"
OVERRIDE = "\u202egnp.exe\u202c"
ATTRIBUTE = "\" autofocus onfocus=\"document.title='owned'\" x='"
JINJA = "{{ 7 * 7 }}{% raw %}"
HOSTILE = (SCRIPT, FORMULA, ESCAPES, OVERRIDE, ATTRIBUTE, JINJA)


def tell_story(engine: Engine) -> None:
    """Four syncs in four days: all there is, hostile names, changes of every kind, a return."""
    world = small()
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings, hour(0))
        for number, hostile in enumerate(HOSTILE):
            _plant(world, number, hostile)
        sync_all(engine, settings, hour(30))
        gone = world.live("layers", "projects")[0].payload["id"]
        world.delete("layers", "projects", gone)
        world.rename_project("search", "search-new")
        world.update("launchdarkly", "projects", "my-project", name="My renamed project")
        news: dict[str, Any] = {"newThing": {"deep": [1]}, SCRIPT: 1}
        world.update("statsig", "layers", "Checkout", description="one", **news)
        sync_all(engine, settings, hour(54))
        world.restore("layers", "projects", gone)
        world.update("launchdarkly", "layers", _first_layer(world), "my-project", **_over_booked())
        world.update("statsig", "layers", "Checkout", description=SCRIPT)
        sync_all(engine, settings, hour(80))


def stretch(engine: Engine) -> None:
    """Every text of the database that is no word of ours becomes a very long one without a space.

    Texts that no two rows share stay different; payloads stay as they are.
    """
    long = "W" * 3000
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            values = {
                column.name: f"'{long}' || rowid"
                for column in table.c
                if isinstance(column.type, Text) and column.name not in _WORDS
            }
            values |= {"source": f"source || '-{long[:200]}'"} if "source" in table.c else {}
            for name, value in (("tags", [long]), ("old_value", long), ("new_value", {long: long})):
                values |= {name: f"'{json.dumps(value)}'"} if name in table.c else {}
            if values:
                assigned = ", ".join(f"{name} = {value}" for name, value in values.items())
                connection.execute(text(f"UPDATE {table.name} SET {assigned}"))  # noqa: S608


_WORDS = frozenset(  # names of ours, and what tells rows apart
    {
        *("provider", "stream", "operation", "kind", "status", "scope", "type", "walks", "digest"),
        *("content_hash", "external_id", "parent_id", "etl_version", "sample_type", "source"),
    }
)


def _plant(world: World, number: int, text: str) -> None:
    """A hostile text in every field that is shown."""
    world.create("layers", "projects", name=text, ownerEmail=text)
    world.create(
        "statsig",
        "layers",
        id=f"{text} {number}",
        name=text,
        description=text,
        tags=[text],
        lastModifierName=text,
        lastModifierEmail=text,
        parameters=[{"name": text, "type": "string", "defaultValue": text}],
    )
    world.create("launchdarkly", "projects", key=f"hostile-{number}", name=text, tags=[text])
    world.create(
        "launchdarkly",
        "layers",
        "my-project",
        key=f"hostile-{number}",
        name=text,
        environments={"test": {"reservations": [_reserved(text, 30)]}},
    )


def _first_layer(world: World) -> str:
    key: str = world.live("launchdarkly", "layers", "my-project")[0].payload["key"]
    return key


def _over_booked() -> dict[str, Any]:
    held = [_reserved("big", 70), _reserved("bigger", 80)]
    return {"environments": {"production": {"reservations": held}}}


def _reserved(experiment: str, percent: int) -> dict[str, Any]:
    return {"experimentKey": experiment, "flagKey": "flag", "reservationPercent": percent}


@contextmanager
def served(
    url: str, *, now: datetime = NOW, patience: ConnectionTimeouts = PATIENCE, **door: Any
) -> Iterator[str]:
    """The console over the database of that URL; gives its own URL."""
    engine = open_reader(url)
    console = application(engine, clock=lambda: now, **door)
    listening = listen("127.0.0.1", 0)
    # the kernel keeps little of what a client does not read; its sockets inherit that
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
    running = server(console, patience=patience)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        listening.close()
        engine.dispose()


def url_of(engine: Engine) -> str:
    """The URL of an engine's database, password and all."""
    return engine.url.render_as_string(hide_password=False)


def console_of(engine: Engine, **door: Any) -> Guard:
    """The console as an application, to be asked without a server."""
    return application(engine, clock=lambda: NOW, **door)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application answered; headers: names in small letters."""

    status: int
    headers: dict[str, str]
    body: str


def ask(
    console: Guard, target: bytes, method: str = "GET", *, client: str = "127.0.0.1", **headers: str
) -> Answer:
    """The answer to a request line as it is, whatever its bytes; what the application raises."""
    raw_path, _, query = target.partition(b"?")
    named = {"host": "localhost"} | {name.lower(): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8080),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if scope["method"] == "POST" and not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(console(scope, receive, send))
    start, *rest = sent
    return Answer(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(part.get("body", b"") for part in rest).decode(),
    )


def tell_briefly(engine: Engine) -> None:
    """Two syncs of two sources: some records, a change."""
    world = small()
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        for moment in (hour(0), hour(30)):
            for name in ("ld", "ly"):
                sync(engine, settings, name, moment)
            world.update("launchdarkly", "projects", "my-project", name="My renamed project")
