"""Bodies that take as much memory as a body within the cap can, and who sends and reads them."""

import gzip
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from etl.config.settings import LimitSettings
from etl.providers.wire import MAX_CHILDREN, MAX_VALUES
from etl.transform.classify import MAX_ITEM
from tests.support import tls

MIB = 2**20
CAP = LimitSettings().max_body
VALUES = MAX_VALUES - 1000  # of a body that is not refused for their number
MOST_DATA = 450 * MIB  # of a process: what it has reserved and not only what it uses
TIMES = 8  # so often the body is sent; afterwards its list is empty
GZIP = "Content-Encoding: gzip"
ASTRAL = "\U0001f600"  # with it each letter of a text takes four bytes
A_KEY = "sdk-11111111-1111-1111-1111-111111111111 "
HEAD, TAIL = b'{"items": [', b'], "data": [], "pagination": {"nextPage": null}, "_links": {}}'
EMPTY = HEAD + TAIL

PROJECT = '{"_id":"%(n)d","key":"%(n)d","name":"","tags":[],"includeInSnippetByDefault":true'
ENVIRONMENT = (
    '{"_id":"e%(n)d","key":"%(n)d","name":"","color":"","defaultTtl":0,"secureMode":true,'
    '"defaultTrackEvents":true,"requireComments":true,"confirmChanges":true,"tags":[]'
)
LAYER = '{"key":"%(n)d","name":"","createdAt":1711992161000'
LAYERS_PROJECT = (
    '{"id":"%(n)d","name":"","status":"","createdAt":"2026-04-10T09:14:22Z",'
    '"updatedAt":"2026-04-10T09:14:22Z"'
)
STATSIG_LAYER = (
    '{"id":"%(n)d","idType":"","description":"","lastModifierID":null,"lastModifiedTime":null,'
    '"lastModifierEmail":null,"lastModifierName":null,"creatorID":null,"createdTime":null,'
    '"creatorName":null,"creatorEmail":null,"isImplicitLayer":false'
)
LONG = '{"id":"a","_id":"a","key":"a","name":"%s","tags":[],"status":"","x":"%s"}'


def items(*found: str) -> bytes:
    """A list of these items."""
    return HEAD + ",".join(found).encode() + TAIL


def filled(item: bytes) -> bytes:
    """The same item as often as a body may hold it."""
    room, values = CAP - len(EMPTY) - 8, sum(map(item.count, (b",", b"[", b"{")))
    times = min(room // len(item), VALUES // values)
    return HEAD + (item * times).rstrip(b",") + TAIL


def as_many(template: str, most: int = CAP) -> bytes:
    """As many items with a number of their own as a body may hold; most: bytes of it."""
    values = 1 + sum(map(template.count, ",[{"))
    size = len((template % {"n": 10**6}).encode()) + 1
    times = min(VALUES // values, (most - 2000) // size)
    return items(*(template % {"n": number} for number in range(times)))


def repeated(inner: str, *, times: int, between: str = ",") -> str:
    """The same JSON so often, each with a number of its own."""
    return between.join(inner % {"m": number} for number in range(times))


def listed(inner: str, times: int) -> str:
    """A JSON list of so many values with a number of their own."""
    return f"[{repeated(inner, times=times)}]"


def project(value: str) -> str:
    """A project of LaunchDarkly that is valid, and of the others an item, with that value."""
    return PROJECT % {"n": 1} + f',"id":"1","x":{value}}}'


def wide(size: int) -> str:
    """A text of that many letters, each of which takes four bytes of memory."""
    return ASTRAL + "a" * (size - 4)


def names(begun: str = "", times: int = VALUES) -> str:
    """As many names as an item may have, each with a number."""
    return repeated(f'"{begun}%(m)d":1', times=times)


Body = Callable[[], bytes]

BODIES: dict[str, Body] = {
    "millions of values": lambda: HEAD + b"[]," * (CAP // 4) + b"[]" + TAIL,
    "empty lists": lambda: filled(b"[],"),
    "empty objects": lambda: filled(b"{},"),
    "objects of one key": lambda: filled(b'{"a":{}},'),
    "nulls": lambda: filled(b"null,"),
    "numbers": lambda: filled(b"257,"),
    "fractions": lambda: filled(b"1.5,"),
    "large numbers": lambda: filled(b"1e308,"),
    "short texts": lambda: filled(b'"ab",'),
    "items with an id alone": lambda: as_many('{"id":"%(n)d","_id":"%(n)d"}'),
    "projects of Layers.com": lambda: as_many(LAYERS_PROJECT + "}"),
    "layers of LaunchDarkly": lambda: as_many(LAYER + "}"),
    "layers of Statsig": lambda: as_many(STATSIG_LAYER + ',"parameters":[]}'),
    "one id for all": lambda: filled(b'{"id":"a","_id":"a"},'),
    "deep lists": lambda: b"[" * (CAP - 9),
    "deep lists in an item": lambda: HEAD + b"[" * 10**6 + b"]" * 10**6 + TAIL,
    "texts with a wide letter": lambda: filled(f'"{wide(26)}",'.encode()),
    "many names": lambda: items(f'{{"_id":"a","id":"a",{names()}}}'),
    "many names of wide letters": lambda: items(f'{{"_id":"a","id":"a",{names(wide(20))}}}'),
    "many names, one twice": lambda: items(f'{{{names()},"0":1}}'),
    "one long text": lambda: items(LONG % ("é" * (CAP // 4), wide(CAP // 4))),
    "one long text of brackets": lambda: items(LONG % ("", "[{," * (CAP // 4))),
    "texts with brackets": lambda: filled(b'"[[",'),
    "escapes": lambda: items(LONG % ("", "\\u0041" * (CAP // 8))),
    "an endless number": lambda: HEAD + b"1" * (CAP - 100) + TAIL,
    "blanks": lambda: HEAD + b" " * (CAP - 200) + TAIL,
    "one text of wide letters": lambda: items(project(f'"{wide(CAP - 999)}"')),
    "the same, read by Python": lambda: items(project(f'["{wide(CAP - 999)}", 1e2]')),
    "the same, with a tiny number": lambda: items(project(f'["{wide(CAP - 999)}",1e-7]')),
    "the same without an id": lambda: items(f'{{"x":["{wide(CAP - 999)}",1e-7]}}'),
    "items of wide letters": lambda: as_many(
        PROJECT + f',"id":"%(n)d","x":"{wide(MAX_ITEM - 999)}"}}'
    ),
    "control characters": lambda: items(project(json.dumps("\x01" * (CAP // 6 - 99)))),
    "surrogate pairs": lambda: items(project(json.dumps(ASTRAL * (CAP // 12 - 99)))),
    "keys in a text": lambda: items(project(f'"{A_KEY * (CAP // len(A_KEY) - 99)}"')),
    "an item of many names": lambda: items(project(f"{{{names('name-')}}}")),
    "an item of large numbers": lambda: items(project(listed("1e308", VALUES))),
    "items of large numbers": lambda: as_many(
        PROJECT + f',"id":"%(n)d","x":{listed("1e308", 6700)}}}', most=CAP // 32
    ),
    "one reject of many values": lambda: items(json.dumps({"x": [[]] * (VALUES // 2)})),
    "tags that are none": lambda: items(
        (PROJECT % {"n": 1}).replace("[]", listed("1", VALUES)) + "}"
    ),
    "unknown fields": lambda: items(
        *(
            (PROJECT % {"n": n}) + ',"x":{},' + repeated(f'"{n}-%(m)d":0', times=2000) + "}"
            for n in range(100)
        )
    ),
    "an error in disguise": lambda: json.dumps(
        {"code": wide(CAP // 2), "message": wide(CAP // 2 - 999)}, ensure_ascii=False
    ).encode(),
}
"""Lists in which most vendors find nothing that they know."""


def reservations(times: int, name: str = "") -> str:
    """The environments of a layer of LaunchDarkly in which so much is reserved."""
    one = f'{{"experimentKey":"{name}%(m)d","flagKey":"f","reservationPercent":1}}'
    return f'{{"production":{{"reservations":{listed(one, times)}}}}}'


def parameters(times: int, name: str = "", value: str = "null") -> str:
    """So many parameters of a layer of Statsig."""
    return listed(f'{{"name":"{name}%(m)d","type":"string","defaultValue":{value}}}', times)


def ld_layers(environments: str) -> bytes:
    """As many layers of LaunchDarkly as a body may hold."""
    return as_many(f'{LAYER},"environments":{environments}}}')


def statsig_layers(parameters: str, more: str = "") -> bytes:
    """As many layers of Statsig as a body may hold."""
    return as_many(f'{STATSIG_LAYER},{more}"parameters":{parameters}}}')


def embedded(environments: str) -> bytes:
    """A project of LaunchDarkly with its environments."""
    return items(
        PROJECT % {"n": 1} + f',"environments":{{"totalCount":1,"items":{environments}}}}}'
    )


OF_LAUNCHDARKLY: dict[str, Body] = {
    "environments": lambda: embedded(listed(ENVIRONMENT.replace("(n)", "(m)") + "}", VALUES // 12)),
    "environments of nothing": lambda: embedded(listed("{}", VALUES // 2)),
    "approval settings": lambda: embedded(
        "["
        + ENVIRONMENT % {"n": 1}
        + ',"resourceApprovalSettings":{'
        + repeated('"%(m)d":{"requiredApprovalTags":["b","a"]}', times=VALUES // 4 - 9)
        + "}}]"
    ),
    "tags that are none": BODIES["tags that are none"],
}
"""Lists of projects."""

OF_LAUNCHDARKLY_LAYERS: dict[str, Body] = {
    "many reservations": lambda: ld_layers(reservations(MAX_CHILDREN - 1)),
    "some reservations": lambda: ld_layers(reservations(100)),
    "reservations of nothing": lambda: ld_layers(
        f'{{"a":{{"reservations":{listed("{}", MAX_CHILDREN - 1)}}}}}'
    ),
    "environments of nothing": lambda: ld_layers(f"{{{names(times=MAX_CHILDREN - 1)}}}"),
    "reservations of wide letters": lambda: ld_layers(reservations(2000, wide(780))),
    "names of wide letters": lambda: as_many(
        LAYER.replace('"name":""', f'"name":"{wide(MIB)}","description":"{wide(MIB - 999)}"') + "}"
    ),
    **{
        name: BODIES[name]
        for name in (
            "layers of LaunchDarkly",
            "objects of one key",
            "one text of wide letters",
            "the same, read by Python",
            "an item of many names",
        )
    },
}
"""Lists of the layers of a project; those of several are read at once."""

OF_STATSIG: dict[str, Body] = {
    "many parameters": lambda: statsig_layers(parameters(MAX_CHILDREN - 1)),
    "some parameters": lambda: statsig_layers(parameters(100)),
    "parameters of nothing": lambda: statsig_layers(listed("{}", MAX_CHILDREN - 1)),
    "parameters named twice": lambda: statsig_layers(
        f"[{','.join([parameters(1000, wide(700))[1:-1]] * 2)}]"
    ),
    "parameters of wide letters": lambda: statsig_layers(parameters(1000, value=f'"{wide(1900)}"')),
    "a parameter of wide letters": lambda: statsig_layers(
        parameters(1, value=f'"{wide(MAX_ITEM - 999)}"')
    ),
    "tags of wide letters": lambda: statsig_layers(
        "[]", f'"tags":["{wide(MIB - 999)}","{wide(MIB - 999)}"],'
    ),
    "tags that are none": lambda: statsig_layers("[]", f'"tags":{listed("1", VALUES // 2)},'),
}
"""Lists of layers."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor. listed: where its largest list is; others: what it answers elsewhere, by the end
    of a path."""

    name: str
    listed: str
    others: tuple[tuple[str, bytes], ...] = ()


VENDORS = (
    Vendor("launchdarkly", "/projects"),
    Vendor("statsig", "/layers", ((r"/project", b'{"data":{"id":"p","name":"p"}}'),)),
    Vendor("layers", "/projects"),
)
LAYERS = Vendor(
    "launchdarkly",
    "/layers",
    (("/projects", items(*(PROJECT % {"n": number} + "}" for number in range(12)))),),
)
WHOAMI = Vendor("layers", "/whoami")
HELPS = Vendor("statsig", "/project")


def packed(body: bytes) -> bytes:
    """As it is sent with `GZIP`."""
    return gzip.compress(body, 1)


def answering(
    vendor: Vendor, body: bytes, *, closing: bool = False
) -> AbstractContextManager[tls.Server]:
    """The vendor sends this body instead of its list; closing: without saying how long it is."""
    if vendor.name == "statsig":
        body = body.replace(HEAD, b'{"data": [', 1).replace(b', "data": []', b"", 1)
    hostile = tls.answer(packed(body), "200 OK", GZIP)
    if closing:
        hostile = hostile.replace(b"Content-Length", b"X-Length", 1)
    others = [(end, tls.answer(small)) for end, small in vendor.others]
    sent: list[str] = []

    def talk(server: tls.Server, connection: socket.socket) -> None:
        path = path_of(head := tls.head_of(connection))
        server.heads.append(head)
        if path.endswith(vendor.listed) and len(sent) < TIMES:
            sent.append(path)
            connection.sendall(hostile)
            return
        fitting = (small for end, small in others if path.endswith(end))
        connection.sendall(next(fitting, tls.answer(EMPTY)))

    return tls.serving(talk)


@dataclass(slots=True)
class Pages:
    """Layers.com's list of projects: `page(number, state)`, so many of them."""

    page: Callable[[int, int], bytes]
    number: int
    state: int = 0

    def serving(self) -> AbstractContextManager[tls.Server]:
        """Answers with the pages as they are in this state."""
        return tls.serving(self._talk)

    def _talk(self, _server: tls.Server, connection: socket.socket) -> None:
        url = urlsplit(tls.head_of(connection).split(b" ")[1].decode())
        if not url.path.endswith("/projects"):
            connection.sendall(tls.answer(EMPTY))
            return
        number = int(dict(parse_qsl(url.query)).get("cursor", 0))
        more = f'], "nextCursor": "{number + 1}"}}' if number + 1 < self.number else "]}"
        body = self.page(number, self.state).removesuffix(TAIL) + more.encode()
        connection.sendall(tls.answer(packed(body), "200 OK", GZIP))


def many_changed(number: int, state: int) -> bytes:
    """10,000 projects of which one field changes."""
    return items(
        *(
            LAYERS_PROJECT % {"n": n} + f',"x":{state}}}'
            for n in range(number * 10_000, (number + 1) * 10_000)
        )
    )


def much_changed(number: int, state: int) -> bytes:
    """4,000 projects of which 41 fields change."""
    fields = "".join(f',"x{n}":{state}' for n in range(41))
    return items(
        *(
            LAYERS_PROJECT % {"n": n} + fields + "}"
            for n in range(number * 4_000, (number + 1) * 4_000)
        )
    )


def large_changed(number: int, state: int) -> bytes:
    """Three projects of almost 2 MiB of which a long text changes."""
    text = str(state) + "a" * (MAX_ITEM - 999)
    return items(
        *(LAYERS_PROJECT % {"n": n} + f',"x":"{text}"}}' for n in range(number * 3, number * 3 + 3))
    )


def other_names(number: int, state: int) -> bytes:
    """100 projects that lose 2,000 fields each, which no other has, and get others."""
    return items(
        *(
            LAYERS_PROJECT % {"n": n} + "," + repeated(f'"{n}-{state}-%(m)d":0', times=2000) + "}"
            for n in range(number * 100, (number + 1) * 100)
        )
    )


def one_changed(number: int, state: int) -> bytes:
    """A project of 150,000 fields under a long name, all of which change."""
    fields = repeated(f'"%(m)d":{state}', times=150_000)
    return items(LAYERS_PROJECT % {"n": number} + f',"{"n" * 470}":{{{fields}}}}}')


CHANGES = {
    "many records": (many_changed, 10),
    "records of many fields": (much_changed, 13),
    "large records": (large_changed, 5),
    "records of very many fields": (one_changed, 3),
    "fields of other names": (other_names, 5),
}
"""Pages whose records change, and how many of them there are."""

PROGRAM = """
import sys
from pathlib import Path
told, sys.argv[1:] = sys.argv[1], sys.argv[2:]
from etl.__main__ import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    Path(told).write_text(status.partition("VmHWM:")[2].split()[0])
"""
CONFIG = """
[database]
url = "{url}"
[sources.it]
provider = "{provider}"
api_key = {{ env = "KEY" }}
base_url = "{base_url}"
limits = {{ attempts = 1, rate_limits = ["10000/1s"] }}
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; peak: of its memory that was in use at once, in bytes."""

    code: int
    peak: int
    out: str
    err: str

    @property
    def status(self) -> str:
        """Of the one run that it told with `--json`."""
        (run,) = json.loads(self.out)["runs"]
        return str(run["status"])


def configured(folder: Path, database: str, provider: str, base_url: str) -> Path:
    """A configuration of one source, `it`."""
    config = folder / "etl.toml"
    config.write_text(CONFIG.format(url=database, provider=provider, base_url=base_url))
    return config


def limited(config: Path, *words: str, seconds: float = 300, most_file: int = -1) -> Ended:
    """A command of etl in a process that cannot reserve more than `MOST_DATA`.

    most_file: bytes that a file may have which it writes; -1: any number.
    """
    peak = config.with_name("peak")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_file, most_file))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(peak), "--config", str(config), *words],
        capture_output=True,
        env={**os.environ, "KEY": "some-key"},
        text=True,
        timeout=seconds,
        check=False,
        preexec_fn=limit,
    )
    assert "MemoryError" not in done.stderr, done.stderr[-2000:]
    return Ended(done.returncode, int(peak.read_text()) * 1024, done.stdout, done.stderr)


def path_of(head: bytes) -> str:
    """The path of a request, without its query."""
    return head.split(b" ")[1].partition(b"?")[0].decode()
