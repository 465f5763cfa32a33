"""The memory of a run is bounded, whatever is sent: each hostile body is read by a real process."""

import gzip
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from etl.config import Limits
from etl.walk import MAX_REJECTS
from etl.wire import MAX_VALUES
from tests.support import tls

MIB = 2**20
CAP = Limits().max_body
MOST = 250 * MIB
GZIP = "Content-Encoding: gzip"
PROVIDERS = ("launchdarkly", "statsig", "layers")
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
LAYERS_PROJECT = (
    '{"id":"%(n)d","name":"","status":"","createdAt":"2026-04-10T09:14:22Z",'
    '"updatedAt":"2026-04-10T09:14:22Z"}'
)
LONG = '{"id":"a","_id":"a","key":"a","name":"%s","tags":[],"status":"","x":"%s"}'
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


def run_on(body: bytes, provider: str, folder: Path, *headers: str) -> tuple[str, int, str]:
    """Status, peak of resident memory and error of a run that gets this body."""
    with tls.plain_server(tls.answer(body, "200 OK", *headers)) as server:
        config = folder / "etl.toml"
        config.write_text(CONFIG.format(folder=folder, provider=provider, url=server.url))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(config)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    first, _, error = done.stdout.partition("\n")
    status, peak = first.split()
    return status, int(peak), error


def packed(body: bytes) -> bytes:
    return gzip.compress(body, 1)


@pytest.mark.parametrize("name", ["millions of values", "objects of one key"])
def test_a_hostile_body_takes_a_bounded_memory(name: str, tmp_path: Path) -> None:
    status, peak, said = run_on(packed(BODIES[name]()), "layers", tmp_path, GZIP)
    assert (status, peak < MOST) in (("failed", True), ("partial", True)), (peak, said)


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
