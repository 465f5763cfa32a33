"""Rows 30 to 33: a wrong body stores nothing, a redirect is not followed, no body is too much."""

import gzip
import tracemalloc
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox
from tests.support.database import contents, counts, rows
from tests.support.internals.values import RunReport
from tests.support.runs import SOURCES, asked, elsewhere, settings_for, small, sync, sync_all
from tests.support.slow import dripping

LISTS = {
    "st": "statsig /console/v1/layers[?]*",
    "ly": "layers /v1/projects[?]*",
    "ld": "launchdarkly /api/v2/projects[?]*",
}
PAGED: dict[str, Any] = {
    "st": {"layers": {"page_size": 5}},
    "ly": {"projects": {"page_size": 3}},
    "ld": {"projects": {"page_size": 2}},
}
MIB = 2**20
DEADLINE = 0.4
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def end(report: RunReport) -> tuple[str, int]:
    return report.status, report.exit_code


WRONG = ("html", "not_json", "truncated", "wrong_type", "no_list", "duplicate_keys", "nan")


@pytest.mark.row(30)
@pytest.mark.parametrize(("name", "match"), LISTS.items())
def test_a_body_that_is_not_as_documented_ends_the_run_and_stores_nothing(
    engine: Engine, name: str, match: str
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sync(engine, settings, name)
        before = contents(engine)
        sandbox.world.evolve(changed=0.5)
        for kind in WRONG:
            sandbox.add_fault(Fault(match, kind, after=WRONG.index(kind) % 2))
            report = sync(engine, settings, name)
            assert (kind, *end(report)) == (kind, "failed", 1)
            assert contents(engine) == before
            sandbox.clear_faults()
        report = sync(engine, settings, name)
        assert (report.status, report.changed > 0) == ("ok", True)
        assert counts(engine)[report.provider] == sandbox.counts()[report.provider]


@pytest.mark.row(31)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(engine: Engine, status: int) -> None:
    with Sandbox(small()) as foreign, Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        for name, match in LISTS.items():
            path = match.split(" ")[1].partition("[")[0]
            for after, base in ((0, foreign.url), (1, sandbox.url)):  # the own host neither
                away = {"Location": f"{base}{path}"}
                sandbox.add_fault(Fault(match, "status", after=after, arg=(status, away)))
                report = sync(engine, settings, name)
                assert (name, *end(report)) == (name, "failed", 1)
                assert str(status) in (report.error or "")
                sandbox.clear_faults()
        assert foreign.requests == []
        assert all(found == [] for found in contents(engine).values())


@pytest.mark.row(32)
@pytest.mark.parametrize("kind", ["huge", "gzip_bomb"])
def test_a_body_above_the_cap_is_told_and_never_held(engine: Engine, kind: str) -> None:
    """200 MB from the wire, or from 200 kB of gzip, against a cap of 1 MiB."""
    tables: dict[str, Any] = {name: {"limits": {"max_body_mb": 1}} for name in SOURCES}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **tables)
        for name, match in LISTS.items():
            sync(engine, settings, name)
            before = contents(engine)
            sandbox.add_fault(Fault(match, kind, arg=200 * MIB))
            tracemalloc.start()
            report = sync(engine, settings, name)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert (name, *end(report)) == (name, "failed", 1)
            assert "larger than 1048576 bytes" in (report.error or "")
            assert peak < 10 * MIB  # the sandbox's own pieces of 1 MiB are in it
            assert contents(engine) == before


@pytest.mark.row(32)
def test_a_packed_body_below_the_cap_is_taken(engine: Engine) -> None:
    faults = [Fault(match, "gzip_bomb", times=None, arg=MIB // 2) for match in LISTS.values()]
    tables: dict[str, Any] = {name: {"limits": {"max_body_mb": 1}} for name in SOURCES}
    with Sandbox(small(), faults=faults) as sandbox:
        sync_all(engine, settings_for(sandbox, **tables))
        assert counts(engine) == sandbox.counts()


PACKED = gzip.compress(b'{"items": []}' + b" " * 5000)
SLOW = {
    "headers": (b"", HEADERS + b"X-Odd: " + b"x" * 9999),
    "the status line": (b"", b"HTTP/1.1 200 O" + b"K" * 9999),
    "many headers": (b"HTTP/1.1 200 OK\r\n", b"X-Odd: 1\r\n"),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a body": (HEADERS + b"Content-Length: 999999\r\n\r\n", b" "),
    "a body of unsaid length": (HEADERS + b"\r\n", b" "),
    "chunks": (HEADERS + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "the length of a chunk": (HEADERS + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "a packed body": (HEADERS + b"Content-Encoding: gzip\r\n\r\n" + PACKED[:10], PACKED[10:]),
    "a packed body that unpacks to nothing": (
        HEADERS + b"Content-Encoding: gzip\r\n\r\n" + PACKED[:10],
        b"\x00\x00\x00\xff\xff",  # empty blocks
    ),
    "an error": (b"HTTP/1.1 500 No\r\nContent-Length: 999\r\n\r\n", b" "),
    "nothing at all": (b"", b""),
    "nothing but a body's first half": (HEADERS + b"Content-Length: 99\r\n\r\n{", b""),
}


@pytest.mark.row(32)
@pytest.mark.parametrize(("at_once", "slowly"), SLOW.values(), ids=SLOW)
def test_an_answer_that_drips_is_cut_off_at_the_deadline(
    databases: Any, at_once: bytes, slowly: bytes
) -> None:
    """Each byte comes long before a read would time out; only the whole is too slow."""
    limits = {"limits": {"timeout": DEADLINE}}
    with (
        databases("sqlite") as engine,
        Sandbox(small()) as sandbox,
        dripping(at_once, slowly, pause=0.02) as url,
    ):
        settings = elsewhere(settings_for(sandbox, ly=limits), url)
        report = sync(engine, settings, "ly")
    assert end(report) == ("parked", 75)
    assert "not whole after 0.4 s" in (report.error or "")


@pytest.mark.row(32)
@pytest.mark.parametrize("slowly", [b"", b"\x16\x03\x03\x40\x00" + b"\x02" * 9999])
def test_a_handshake_that_drips_is_cut_off_at_the_deadline(databases: Any, slowly: bytes) -> None:
    limits = {"limits": {"timeout": DEADLINE}}
    with (
        databases("sqlite") as engine,
        Sandbox(small()) as sandbox,
        dripping(b"", slowly, pause=0.02) as url,
    ):
        settings = elsewhere(settings_for(sandbox, ly=limits), url.replace("http:", "https:"))
        report = sync(engine, settings, "ly")
    assert end(report) == ("parked", 75)


@pytest.mark.row(32)
def test_a_run_whose_page_dripped_goes_on_with_it(engine: Engine) -> None:
    tables: dict[str, Any] = {"ly": {"projects": {"page_size": 3}, "limits": {"timeout": 1.5}}}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **tables)
        sandbox.add_fault(Fault(LISTS["ly"], "slow", after=2, arg=0.02))
        parked = sync(engine, settings, "ly")
        assert end(parked) == ("parked", 75)
        lost = asked(sandbox, "/projects?")
        report = sync(engine, settings_for(sandbox, ly={"projects": {"page_size": 3}}), "ly")
        assert asked(sandbox, "/projects?")[len(lost)] == lost[-1]
        assert (report.run_id, report.status) == (parked.run_id, "ok")
        assert counts(engine)["layers"] == sandbox.counts()["layers"]


@pytest.mark.row(33)
def test_a_byte_order_mark_changes_nothing(both: tuple[Engine, Engine]) -> None:
    found = []
    for engine, faults in zip(both, ([], list(LISTS.values())), strict=True):
        with Sandbox(
            small(), faults=[Fault(match, "bom", times=None) for match in faults]
        ) as sandbox:
            sync_all(engine, settings_for(sandbox, **PAGED))
        found.append(contents(engine, exactly=False))
    assert found[0] == found[1]


@pytest.mark.row(33)
@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "latin-1", "cp1252"])
def test_another_charset_is_a_clear_error_and_stores_nothing(engine: Engine, charset: str) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        before = contents(engine)
        sandbox.world.update("statsig", "layers", "Checkout", description="Caf\u00e9")
        sandbox.add_fault(Fault(LISTS["st"], "charset", arg=charset))
        report = sync(engine, settings, "st")
        assert end(report) == ("failed", 1)
        assert "JSON" in (report.error or "")
        assert contents(engine) == before
        sync(engine, settings, "st")
    (row,) = rows(engine, "layers", "key = 'Checkout'")
    assert row["description"] == "Caf\u00e9"


@pytest.mark.row(33)
@pytest.mark.parametrize("garbage", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x01", b"\x00"])
def test_bytes_that_are_no_text_are_a_clear_error(engine: Engine, garbage: bytes) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for name, match in LISTS.items():
            sandbox.add_fault(Fault(match, "garble", arg=garbage))
            report = sync(engine, settings, name)
            assert (name, *end(report)) == (name, "failed", 1)
            assert "the body is not JSON as documented" in (report.error or "")
        assert all(found == [] for found in contents(engine).values())
