"""Rows 27 to 29: outages are waited out and lose nothing; refusals are told at once."""

import socket
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.errors import TransientError
from etl.sandbox import KEYS, Fault, Sandbox, World
from tests.support.database import contents, count, counts, rows
from tests.support.internals.running import PROVIDERS, RetryPolicy
from tests.support.internals.values import Request
from tests.support.runs import SOURCES, asked, elsewhere, settings_for, small, sync
from tests.unit.builders import NOW, Clock, client

STATSIG, LAYERS = "statsig /console/v1/layers[?]*", "layers /v1/projects[?]*"
PROJECTS = "launchdarkly /api/v2/projects[?]*"
LIST = Request("/v1/projects", (("limit", "5"),))
PAGED: dict[str, Any] = {
    "st": {"layers": {"page_size": 2}, "limits": {"attempts": 6}},
    "ly": {"projects": {"page_size": 3}},
    "ld": {"projects": {"page_size": 2}, "limits": {"attempts": 6}},
}

OUTAGES = {
    "500": ("status", 500),
    "502": ("status", 502),
    "503": ("status", 503),
    "504": ("status", 504),
    "closed before the answer": ("closed", None),
    "reset in mid-body": ("reset", None),
    "closed in mid-body": ("cut", None),
    "no answer in time": ("stall", 60.0),
}


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.row(27)
@pytest.mark.parametrize(("kind", "arg"), OUTAGES.values(), ids=OUTAGES)
def test_a_page_that_an_outage_took_comes_with_the_next_run_once(
    engine: Engine, kind: str, arg: Any
) -> None:
    with Sandbox(small(), faults=[Fault(LAYERS, kind, after=2, arg=arg)]) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        hurried = {"ly": PAGED["ly"] | {"limits": {"timeout": 1.0}}} if kind == "stall" else PAGED
        parked = sync(engine, settings_for(sandbox, **hurried), "ly")
        assert (parked.status, parked.exit_code) == ("parked", 75)
        assert count(engine, "projects") == 0
        before = asked(sandbox, "/projects?")
        report = sync(engine, settings, "ly")
        assert (report.status, report.run_id) == ("ok", parked.run_id)
        again = asked(sandbox, "/projects?")[len(before) :]
        assert again[0] == before[-1]  # the one that was lost, not the first one
        assert counts(engine)["layers"] == sandbox.counts()["layers"]
    told = [row["operation"] for row in rows(engine, "changes")]
    assert told == ["created"] * count(engine, "projects")


@pytest.mark.row(27)
@pytest.mark.parametrize(("kind", "arg"), OUTAGES.values(), ids=OUTAGES)
def test_a_passing_outage_is_not_noticed_and_a_lasting_one_is_transient(
    kind: str, arg: Any
) -> None:
    patience = RetryPolicy(attempts=4, timeout=0.5 if kind == "stall" else 30.0)
    headers = PROVIDERS["layers"].headers(KEYS["layers"])
    clocks, ends = [], []
    for times in (3, None):
        clock = Clock()
        with Sandbox(small(), faults=[Fault("layers", kind, times=times, arg=arg)]) as sandbox:
            own = client(clock, base_url=sandbox.url, headers=headers, patience=patience)
            with closing(own):
                try:
                    ends.append(own.fetch(LIST).status)
                except TransientError as error:
                    ends.append(error.exit_code)
        clocks.append(clock.time - NOW)
        assert own.traffic.requests == patience.attempts
    assert ends == [200, 75]
    assert clocks == pytest.approx([0.5 * (1 + 2 + 4)] * 2)  # half of 1, 2, 4: the jitter is 0.5


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("where", "end", "said"),
    [
        ("connect refused", ("parked", 75), "ConnectError"),
        ("no such host", ("failed", 1), "the host no-such-host.invalid is unknown"),
    ],
)
def test_a_vendor_that_cannot_be_reached_parks_the_run_unless_nobody_knows_it(
    engine: Engine, where: str, end: tuple[str, int], said: str
) -> None:
    refused = f"http://127.0.0.1:{unused_port()}"
    url = refused if where == "connect refused" else "https://no-such-host.invalid"
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for name, provider in SOURCES.items():
            sync(engine, settings, name)
            before = contents(engine)
            parked = sync(engine, elsewhere(settings, url), name)
            assert (parked.status, parked.exit_code) == end
            assert said in (parked.error or "")
            assert contents(engine) == before
            assert sync(engine, settings, name).status == "ok"
            assert counts(engine)[provider] == sandbox.counts()[provider]
    assert count(engine, "changes", "operation <> 'created'") == 0


@pytest.mark.row(28)
@pytest.mark.parametrize("name", SOURCES)
def test_a_key_that_is_not_valid_ends_the_run_at_once_and_is_not_shown(
    engine: Engine, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level("DEBUG")
    wrong = "some-key-of-nobody-0123456789"
    with Sandbox(small()) as sandbox:
        report = sync(engine, settings_for(sandbox, keys={name: wrong}, **PAGED), name)
        assert len(sandbox.requests) <= 2  # who am I, and the first page
    assert (report.status, report.exit_code) == ("denied", 4)
    assert "401" in (report.error or "")
    told = repr(report) + caplog.text + "".join(str(row) for row in rows(engine, "runs"))
    assert wrong not in told


@pytest.mark.row(28)
def test_a_key_that_is_revoked_after_page_7_keeps_the_checkpoint(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with Sandbox(small(), faults=[Fault(STATSIG, "status", after=7, arg=401)]) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        denied = sync(engine, settings, "st")
        assert (denied.status, denied.exit_code) == ("denied", 4)
        assert [target.rpartition("page=")[2] for target in asked(sandbox, "page=")] == [
            *"12345678"
        ]
        assert count(engine, "layers") == 0
        sandbox.reset_requests()
        report = sync(engine, settings, "st")
        pages = [target.rpartition("page=")[2] for target in asked(sandbox, "page=")]
        assert (report.status, pages) == ("ok", ["8", "9", "10", "11", "12", "13"])
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    runs = "".join(str(row) for row in rows(engine, "runs"))
    assert "[key]" in (denied.error or "")  # the vendor's 401 shows the key that was sent
    assert KEYS["statsig"] not in repr(denied) + runs + caplog.text


@pytest.mark.row(29)
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("name", "match", "said"),
    [
        ("st", STATSIG, "The request failed."),
        ("ly", LAYERS, "(req_"),
        ("ld", PROJECTS, "The request failed"),
    ],
)
def test_a_request_that_is_rejected_is_told_in_the_words_of_the_vendor_and_not_repeated(
    engine: Engine, name: str, match: str, said: str, status: int
) -> None:
    if (name, status) == ("st", 400):
        said = "Please check the request input"
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sync(engine, settings, name)
        before = contents(engine)
        sandbox.reset_requests()
        sandbox.add_fault(Fault(match, "status", times=None, arg=status))
        report = sync(engine, settings, name)
        refused = Counter(seen.status for seen in sandbox.requests)[status]
    assert (report.status, report.exit_code, refused) == ("failed", 1, 1)
    assert str(status) in (report.error or "")
    assert said in (report.error or "")
    assert contents(engine) == before


@pytest.mark.row(29)
def test_a_rejection_in_mid_list_starts_that_list_once_more_and_no_more(engine: Engine) -> None:
    def refuse(sandbox: Sandbox, times: int | None) -> None:
        sandbox.add_fault(Fault(f"{LAYERS[:-1]}*cursor=*", "status", times=times, arg=422))

    with Sandbox(World(7)) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        refuse(sandbox, 1)
        assert sync(engine, settings, "ly").status == "ok"
        assert counts(engine)["layers"] == sandbox.counts()["layers"]
        refuse(sandbox, None)
        sandbox.reset_requests()
        report = sync(engine, settings, "ly")
        refused = Counter(seen.status for seen in sandbox.requests)[422]
    assert (report.status, report.exit_code) == ("failed", 1)
    assert refused <= 3
    assert "VALIDATION" in (report.error or "")
