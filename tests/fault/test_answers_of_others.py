"""Row 56: what comes behind an answer, too late, or twice is never the answer to another request.

The client closes such a connection; an answer that says what it answers is believed to be that.
"""

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import counts, rows
from tests.support.internals.running import Client, RetryPolicy
from tests.support.internals.values import Request
from tests.support.raw_server import RawServer, Send, answer, raw_server
from tests.support.runs import SOURCES, of, settings_for, sync, sync_all

pytestmark = pytest.mark.row(56)

SIZES = Sizes(ld_projects=4, ld_environments=2, ld_layers=3, statsig_layers=17, layers_projects=11)
PAGED: dict[str, Any] = {
    "ld": {"projects": {"page_size": 2}},
    "st": {"layers": {"page_size": 5}},
    "ly": {"projects": {"page_size": 3}},
}


def body(target: str) -> str:
    """What each target is answered: itself."""
    return json.dumps({"of": target})


def ask(server: RawServer, targets: list[str], **fields: Any) -> list[str]:
    """What each request is answered, one after the other with one client."""
    patience = RetryPolicy(attempts=1, timeout=20)
    made = Client(source="a", base_url=server.url, headers={}, secret="", patience=patience)
    with closing(made) as client:
        answers = [client.fetch(Request(target, **fields)) for target in targets]
    return [json.loads(one.body)["of"] for one in answers]


JUNK = (
    answer(body("/behind")),
    answer(body("/behind"), "404 Not Found"),
    answer("", "204 No Content"),
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Len",
    b"\r\n",
    b"junk",
)


@pytest.mark.parametrize("junk", JUNK)
def test_bytes_behind_an_answer_are_not_the_next_answer(junk: bytes) -> None:
    targets = [f"/{number}" for number in range(4)]
    with raw_server(lambda target, send: send(answer(body(target)) + junk)) as server:
        assert ask(server, targets) == targets
        assert server.connections == 4


@pytest.mark.parametrize("junk", JUNK)
def test_an_answer_of_a_used_connection_with_bytes_behind_it_is_asked_for_again(
    junk: bytes,
) -> None:
    """The first of the two may be late, and the second one the right one."""
    first = True

    def reply(target: str, send: Send) -> None:
        nonlocal first
        odd = target == "/2" and first
        first = first and not odd
        send(answer(body("/late" if odd else target)) + (junk if odd else b""))

    with raw_server(reply) as server:
        assert ask(server, ["/0", "/1", "/2", "/3"]) == ["/0", "/1", "/2", "/3"]
        assert [target for _, target in server.came].count("/2") == 2


def test_what_comes_between_two_requests_is_not_an_answer() -> None:
    late = threading.Event()

    def reply(target: str, send: Send) -> None:
        send(answer(body(target)))
        send(answer(body("/late")))
        late.set()

    with raw_server(reply) as server:
        made = Client(source="a", base_url=server.url, headers={}, secret="")
        with closing(made) as client:
            for target in ("/0", "/1", "/2"):
                late.clear()
                assert json.loads(client.fetch(Request(target)).body) == {"of": target}
                assert late.wait(20)


def test_interim_answers_before_an_answer_are_no_answers() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    cont = b"HTTP/1.1 100 Continue\r\n\r\n"
    with raw_server(lambda target, send: send(cont + hint + answer(body(target)))) as server:
        assert ask(server, ["/0", "/1", "/2"]) == ["/0", "/1", "/2"]
        assert server.connections == 1


def test_answers_in_many_pieces_keep_their_connection() -> None:
    def reply(target: str, send: Send) -> None:
        whole = answer(body(target))
        for place in range(len(whole)):
            send(whole[place : place + 1])

    with raw_server(reply) as server:
        assert ask(server, ["/0", "/1", "/2"]) == ["/0", "/1", "/2"]
        assert server.connections == 1


def test_requests_that_are_sent_alone_have_a_connection_each() -> None:
    with raw_server(lambda target, send: send(answer(body(target)))) as server:
        assert ask(server, ["/0", "/1", "/2"], alone=True) == ["/0", "/1", "/2"]
        assert server.connections == 3


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize("behind", [True, False])
def test_the_same_holds_for_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    def reply(target: str, send: Send) -> None:
        if behind:
            send(answer(body(target)) * 2)  # one record of TLS
        else:
            send(answer(body(target)))
            send(answer(body(target)))

    targets = ["/0", "/1", "/2", "/3"]
    with raw_server(reply, tls=tls) as server:
        assert ask(server, targets) == targets


Layout = list[tuple[bytes, bool]]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from((b"", *JUNK)), st.booleans()), min_size=2, max_size=8))
def test_whatever_comes_behind_answers_each_request_gets_its_own(layout: Layout) -> None:
    waiting = list(layout)

    def reply(target: str, send: Send) -> None:
        junk, split = waiting.pop(0) if waiting else (b"", False)
        whole = answer(body(target)) + junk
        if split:
            send(whole[: len(whole) // 2])
            send(whole[len(whole) // 2 :])
        else:
            send(whole)

    targets = [f"/{number}" for number in range(len(layout))]
    with raw_server(reply) as server:
        assert ask(server, targets) == targets


def live_keys(engine: Engine) -> list[tuple[str, str, str]]:
    return sorted(
        (stream, row["project_key"] if stream != "projects" else "", row["key"])
        for stream in ("projects", "environments", "layers")
        for row in rows(engine, stream, "NOT is_deleted")
    )


KINDS: dict[str, Callable[[str, int], Fault]] = {
    "twice": lambda match, after: Fault(match, "twice", after=after, times=None),
    "delayed": lambda match, after: Fault(match, "delayed", after=after, times=3),
    "previous": lambda match, after: Fault(match, "previous", after=after, times=1),
}
LISTS = {
    "ld": ("launchdarkly */layers", "launchdarkly */projects?*", "launchdarkly"),
    "st": ("statsig */layers?*", "statsig"),
    "ly": ("layers",),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_run_deletes_or_misplaces_anything_where_answers_come_twice_late_or_mixed_up(
    engine: Engine, kind: str, concurrency: int
) -> None:
    """Nothing changes at the vendor, so nothing may change here, whatever the exit code is."""
    with Sandbox(World(7, SIZES)) as sandbox:
        free = {"limits": {"rate_limits": [], "concurrency": concurrency}}
        told = settings_for(sandbox, **{name: PAGED[name] | free for name in SOURCES})
        sync_all(engine, told)
        before = live_keys(engine)
        for name, matches in LISTS.items():
            for match in matches:
                for after in range(3):
                    sandbox.add_fault(KINDS[kind](match, after))
                    report = sync(engine, told, name, full=True)
                    assert report.changed == 0, (match, after, report)
                    sandbox.clear_faults()
        assert live_keys(engine) == before
        sync_all(engine, told)
        assert counts(engine) == sandbox.counts()


@pytest.mark.parametrize("times", [1, None])
def test_a_list_that_says_it_is_another_one_is_asked_for_again_and_then_incomplete(
    engine: Engine, times: int | None
) -> None:
    href = {"self": {"href": "/api/v2/projects/other/layers"}}
    with Sandbox(World(7, SIZES)) as sandbox:
        told = settings_for(sandbox)
        sync_all(engine, told)
        keys = [one["key"] for one in sandbox.world.records("launchdarkly", "projects")]
        for row in sandbox.world.live("launchdarkly", "layers", keys[0]):
            sandbox.world.delete("launchdarkly", "layers", row.payload["key"], keys[0])
        fault = Fault(
            f"launchdarkly */{keys[0]}/layers", "patch_page", times=times, arg=(("_links",), href)
        )
        sandbox.add_fault(fault)
        report = sync(engine, told, "ld")
        layers = of(report, "layers")
        if times is None:
            assert (report.exit_code, layers.deleted, layers.complete) == (5, 0, False)
            assert "another request" in (layers.incomplete_reason or "")
        else:
            assert (report.exit_code, layers.deleted, layers.complete) == (0, SIZES.ld_layers, True)
