"""The memory of a run is bounded, whatever is sent: each hostile body is read by a real process."""

import gzip
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from etl.config import Limits
from etl.load import MAX_ITEM
from etl.walk import MAX_REJECTS
from etl.wire import MAX_VALUES
from tests.support import tls
from tests.support.waiting import until

MIB = 2**20
MB = 10**6
CAP = Limits().max_body
MOST = 250 * MB
MOST_DATA = 450 * MIB  # of a process: what it has reserved and not only what it uses
HOSTILE = 6  # answers; the lists of what they bring are empty
GZIP = "Content-Encoding: gzip"
PROVIDERS = ("launchdarkly", "statsig", "layers")
EMPTY = b'{"items": [], "data": [], "pagination": {"nextPage": null}, "_links": {}}'
TAIL = b'], "data": [], "pagination": {"nextPage": null}, "_links": {}}'


def filled(item: bytes, last: bytes = b"", *, head: bytes = b'{"items": [') -> bytes:
    """As many of these as a body may hold, and the last one without a comma."""
    room = CAP - len(head) - len(TAIL) - len(last or item) - 8
    values = sum(map(item.count, (b",", b"[", b"{")))
    times = min(room // len(item), (MAX_VALUES - 1000) // values)
    return head + item * times + (last or item.rstrip(b",")) + TAIL


def numbered(template: str, size: int = CAP) -> bytes:
    """As many different items as a body may hold."""
    values = 1 + sum(map(template.count, ",[{"))
    most = min((MAX_VALUES - 1000) // values, (size - 2000) // (len(template) + 4))
    found = [template % {"n": number} for number in range(most)]
    return b'{"items": [' + ",".join(found).encode() + TAIL


def in_data(body: bytes) -> bytes:
    """The same list as Statsig names it."""
    return body.replace(b'{"items": [', b'{"data": [', 1).replace(b', "data": []', b"", 1)


LAYER = '{"key":"%(n)d","name":"","createdAt":1711992161000}'
PROJECT = '{"_id":"%(n)d","key":"%(n)d","name":"","tags":[],"includeInSnippetByDefault":true}'
LAUNCHDARKLY = (
    '{"_id":"%(n)d","key":"%(n)d","name":"","tags":[],"includeInSnippetByDefault":true,"x":%(x)s}'
)
LAYERS_PROJECT = (
    '{"id":"%(n)d","name":"","status":"","createdAt":"2026-04-10T09:14:22Z",'
    '"updatedAt":"2026-04-10T09:14:22Z"}'
)
A_KEY = "sdk-11111111-1111-1111-1111-111111111111 "
LONG = '{"id":"a","_id":"a","key":"a","name":"%s","tags":[],"status":"","x":"%s"}'


def items(*found: str) -> bytes:
    """A list of these items."""
    return b'{"items": [' + ",".join(found).encode() + TAIL


def launchdarkly(value: str, *, times: int = 1) -> bytes:
    """Projects that are valid and hold that value."""
    return items(*(LAUNCHDARKLY % {"n": number, "x": value} for number in range(times)))


ASTRAL = "\U0001f600"  # with it each letter of a text takes four bytes
BODIES = {
    "millions of values": lambda: b'{"items": [' + b"[]," * (CAP // 4) + b"[]" + TAIL,
    "empty lists": lambda: filled(b"[],"),
    "empty objects": lambda: filled(b"{},"),
    "objects of one key": lambda: filled(b'{"a":{}},'),
    "nulls": lambda: filled(b"null,"),
    "numbers": lambda: filled(b"257,"),
    "fractions": lambda: filled(b"1.5,"),
    "large numbers": lambda: filled(b"1e308,"),
    "short texts": lambda: filled(b'"ab",'),
    "items with an id alone": lambda: numbered('{"id":"%(n)d","_id":"%(n)d"}'),
    "valid projects": lambda: numbered(PROJECT),
    "valid projects of Layers.com": lambda: numbered(LAYERS_PROJECT),
    "one id for all": lambda: filled(b'{"id":"a","_id":"a"},'),
    "deep lists": lambda: b"[" * (CAP - 9),
    "deep lists in an item": lambda: b'{"items": [' + b"[" * 10**6 + b"]" * 10**6 + TAIL,
    "many names": lambda: (
        numbered('"%(n)d":1').replace(b"[", b'[{"_id":"a","id":"a",').replace(b"], ", b"}], ", 1)
    ),
    "many names, one twice": lambda: (
        numbered('"%(n)d":1').replace(b"[", b"[{", 1).replace(b"], ", b',"0":1}], ', 1)
    ),
    "one long text": lambda: (
        b'{"items": ['
        + (LONG % ("é" * (CAP // 4), "\U0001f600" + "a" * (CAP // 4))).encode()
        + TAIL
    ),
    "one long text of brackets": lambda: (
        b'{"items": [' + (LONG % ("", "[{," * (CAP // 4))).encode() + TAIL
    ),
    "texts with brackets": lambda: filled(b'"[[",'),
    "escapes": lambda: b'{"items": [' + (LONG % ("", "\\u0041" * (CAP // 8))).encode() + TAIL,
    "an endless number": lambda: b'{"items": [' + b"1" * (CAP - 100) + TAIL,
    "blanks": lambda: b'{"items": [' + b" " * (CAP - 200) + TAIL,
    "one text of wide letters": lambda: launchdarkly(f'"{ASTRAL}{"a" * (CAP - 999)}"'),
    "the same, read by Python": lambda: launchdarkly(f'["{ASTRAL}{"a" * (CAP - 999)}", 1e2]'),
    "items of wide letters": lambda: launchdarkly(
        f'"{ASTRAL}{"a" * (MAX_ITEM - 999)}"', times=CAP // MAX_ITEM - 1
    ),
    "control characters": lambda: launchdarkly(json.dumps("\x01" * (CAP // 6 - 99))),
    "surrogate pairs": lambda: launchdarkly(json.dumps(ASTRAL * (CAP // 12 - 99))),
    "keys in a text": lambda: launchdarkly(f'"{A_KEY * (CAP // len(A_KEY) - 99)}"'),
    "an item of many names": lambda: launchdarkly(
        json.dumps({f"name-{n}": 0 for n in range(MAX_VALUES - 1000)})
    ),
    "an item of large numbers": lambda: launchdarkly(f"[{'1e308,' * (MAX_VALUES - 1000)}1]"),
    "one reject of many values": lambda: items(json.dumps({"x": [[]] * (MAX_VALUES // 2 - 99)})),
    "unknown fields": lambda: items(
        *(
            LAUNCHDARKLY % {"n": n, "x": "{}," + ",".join(f'"{n}-{m}":0' for m in range(2000))}
            for n in range(100)
        )
    ),
}
PROGRAM = """
import sys
from etl.app import Wish, open_database, sync
from etl.config import load
from pathlib import Path
settings = load(Path(sys.argv[1]), environ={"KEY": "some-key"})
report = sync(open_database(settings), settings, "it", Wish())
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(report.status, int(peak.split()[1]) * 1024)
print(report.error or "; ".join(s.incomplete_reason or "" for s in report.streams))
"""
CONFIG = """
[database]
url = "sqlite:///{folder}/etl.db"
[sources.it]
provider = "{provider}"
api_key = {{ env = "KEY" }}
base_url = "{url}"
limits = {{ attempts = 1, rate_limits = ["1000/1s"] }}
"""


def serving(body: bytes, *headers: str) -> AbstractContextManager[tls.Server]:
    """Answers the first requests with this body, and later ones with an empty list."""
    hostile, empty = tls.answer(body, "200 OK", *headers), tls.answer(EMPTY)

    def talk(server: tls.Server, connection: socket.socket) -> None:
        server.heads.append(tls.head_of(connection))
        connection.sendall(hostile if len(server.heads) <= HOSTILE else empty)

    return tls.serving(talk)


def run_on(body: bytes, provider: str, folder: Path, *headers: str) -> tuple[str, int, str]:
    """Status, peak of resident memory and error of a run that gets this body."""
    with serving(body, *headers) as server:
        return run_of(server, provider, folder)


def configured(server: tls.Server, provider: str, folder: Path) -> Path:
    """A configuration of that server as the provider."""
    config = folder / "etl.toml"
    config.write_text(CONFIG.format(folder=folder, provider=provider, url=server.url))
    return config


def run_of(server: tls.Server, provider: str, folder: Path) -> tuple[str, int, str]:
    """Status, peak of resident memory and error of a run that reads from this server."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(configured(server, provider, folder))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, _, error = done.stdout.partition("\n")
    status, peak = first.split()
    return status, int(peak), error


def packed(body: bytes) -> bytes:
    return gzip.compress(body, 1)


@pytest.mark.parametrize(
    "name", ["millions of values", "objects of one key", "the same, read by Python"]
)
def test_a_hostile_body_takes_a_bounded_memory(name: str, tmp_path: Path) -> None:
    status, peak, said = run_on(packed(BODIES[name]()), "launchdarkly", tmp_path, GZIP)
    assert status in ("failed", "partial"), said
    assert peak < MOST, said


@pytest.mark.slow
def test_large_answers_of_many_projects_are_not_all_held_at_once(tmp_path: Path) -> None:
    """Several are fetched at once; each is as large as a body may be, and valid."""
    layer = '{"key":"%d","name":"","createdAt":1711992161000,"x":"%s"}'
    wide = ASTRAL + "a" * MIB
    layers = items(*(layer % (number, wide) for number in range(CAP // MIB - 1)))
    projects = items(*(LAUNCHDARKLY % {"n": number, "x": "0"} for number in range(12)))
    answers = {b"projects": projects, b"environments": EMPTY, b"layers": layers}
    ready = {name: tls.answer(packed(body), "200 OK", GZIP) for name, body in answers.items()}

    def talk(_server: tls.Server, connection: socket.socket) -> None:
        path = tls.head_of(connection).split(b" ")[1].partition(b"?")[0]
        connection.sendall(ready.get(path.rpartition(b"/")[2], tls.answer(EMPTY)))

    with tls.serving(talk) as server:
        status, peak, said = run_of(server, "launchdarkly", tmp_path)
    assert status == "ok", said
    assert peak < MOST, said


@pytest.mark.parametrize("name", ["valid projects of Layers.com", "objects of one key"])
def test_a_stop_is_heard_while_a_hostile_page_is_processed(name: str, tmp_path: Path) -> None:
    """Of valid items some are staged already, and the page is not at its end."""
    with serving(packed(BODIES[name]()), GZIP) as server:
        config = configured(server, "layers", tmp_path)
        command = [sys.executable, "-m", "etl", "--config", str(config), "sync", "it"]
        with subprocess.Popen(
            command,
            env={**os.environ, "KEY": "some-key"},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert until(lambda: len(server.heads) > 1)  # the first one asked whose the key is
            if name.startswith("valid"):
                assert until(lambda: counted(tmp_path, "staged_projects") > 0)
                assert counted(tmp_path, "ledger") == 0
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=120)
    assert process.returncode == 75, told
    assert told.startswith("etl: stopped; what was read is kept")
    assert counted(tmp_path, "projects") == 0


def counted(folder: Path, table: str) -> int:
    """The committed rows of a table."""
    with closing(sqlite3.connect(folder / "etl.db")) as database:
        (count,) = database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()  # noqa: S608  ours
    return int(count)


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", BODIES)
def test_every_hostile_body_takes_a_bounded_memory(
    name: str, provider: str, tmp_path: Path
) -> None:
    body = BODIES[name]()
    body = in_data(body) if provider == "statsig" else body
    status, peak, said = run_on(packed(body), provider, tmp_path, GZIP)
    assert status in ("ok", "partial", "failed", "held"), said
    assert peak < MOST, said


def test_of_many_rejects_the_first_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    body = json.dumps({"items": [[] for _ in range(MAX_REJECTS + 500)]}).encode()
    status, _, said = run_on(body, "layers", tmp_path)
    assert status == "partial"
    assert f"{MAX_REJECTS + 500} items were rejected" in said
    with sqlite3.connect(tmp_path / "etl.db") as database:
        (kept,) = database.execute("SELECT COUNT(*) FROM rejects").fetchone()
        (counted,) = database.execute("SELECT rejected FROM run_streams").fetchone()
    assert kept <= MAX_REJECTS
    assert counted == MAX_REJECTS + 500
