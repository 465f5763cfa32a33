"""Rows 7 to 13 and 23: what the vendor says of the next page is wrong, odd, hostile or missing."""

import select
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from etl.sandbox import KEYS, Fault, Sandbox
from tests.conftest import Databases
from tests.support.database import contents, count, counts, rows
from tests.support.lists import ALL, ENVIRONMENTS, LAYERS_COM, PROJECTS, STATSIG, List, end
from tests.support.runs import of, settings_for, small, sync, sync_all

MANY = replace(LAYERS_COM, sizes={"layers_projects": 60})
LONG = replace(PROJECTS, sizes={"ld_projects": 60})
STAGING = ("ledger", "leases", "staged_projects", "staged_layers")


def nothing_is_stored(engine: Engine) -> bool:
    left = sum(count(engine, table) for table in STAGING)
    return left == 0 and all(found == [] for found in contents(engine).values())


@pytest.mark.row(7)
@pytest.mark.parametrize("listed", [PROJECTS, STATSIG, LAYERS_COM], ids=str)
def test_a_server_that_always_sends_the_first_page_is_found_out_at_the_second(
    engine: Engine, listed: List
) -> None:
    with listed.sandbox() as sandbox:
        sandbox.add_fault(listed.fault("same_page", times=None))
        report = listed.sync(engine, sandbox)
        # an answer that says that it is another page is asked for again before it counts
        asked = 3 if listed is STATSIG else 2
        assert (end(report), len(listed.asked(sandbox))) == (("failed", 1), asked)
    assert "page 2 is the same as the one before it" in str(report.error)
    assert nothing_is_stored(engine)


@pytest.mark.row(8)
@pytest.mark.parametrize("after", [0, 9], ids=["at-once", "later"])
@pytest.mark.parametrize("kind", ["next_self", "next_cycle"])
@pytest.mark.parametrize("listed", [LONG, MANY], ids=str)
def test_links_that_lead_in_a_circle_end_the_run(
    engine: Engine, listed: List, kind: str, after: int
) -> None:
    with listed.sandbox() as sandbox:
        sandbox.add_fault(listed.fault(kind, after=after, times=None))
        report = listed.sync(engine, sandbox)
        assert end(report) == ("failed", 1)
        assert len(listed.asked(sandbox)) <= after + 4
    assert "leads back" in str(report.error) or "same as the one before" in str(report.error)
    assert nothing_is_stored(engine)


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A socket that listens; whoever connects makes it readable."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def caught(trap: socket.socket) -> bool:
    return bool(select.select([trap], [], [], 0)[0])


FOREIGN = (
    "http://127.0.0.1:{trap}/api/v2/projects?offset=4",
    "https://127.0.0.1:{trap}/api/v2/projects?offset=4",
    "//127.0.0.1:{trap}/api/v2/projects?offset=4",
    "http://localhost:{trap}/api/v2/projects?offset=4",
    "http://127.0.0.1:{own}@127.0.0.1:{trap}/api/v2/projects?offset=4",
    "http://user:pw@127.0.0.1:{own}/api/v2/projects?offset=4",
    "https://127.0.0.1:{own}/api/v2/projects?offset=4",
    "ftp://127.0.0.1:{own}/api/v2/projects?offset=4",
    "http://127.1:{trap}/x",
    "http://2130706433:{trap}/x",
    "http://0x7f.0.0.1:{trap}/x",
    "http://0.0.0.0:{trap}/x",
    "http://[::1]:{trap}/x",
    "http://[::ffff:127.0.0.1]:{trap}/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://xn--lunchdarkly-p8a.example:{trap}/x",
    "http://\u2460\u2461\u2466.0.0.1:{trap}/x",
    "HTTP://LOCALHOST:{trap}/x",
    "http://127.0.0.1:{own}.evil.example:{trap}/x",
    "file:///etc/passwd",
)


@pytest.mark.row(9)
@pytest.mark.parametrize("link", FOREIGN)
def test_a_link_to_elsewhere_is_refused_and_nobody_there_is_asked(
    databases: Databases, trap: socket.socket, link: str
) -> None:
    """The refusal is the client's; one database is enough for so many forms."""
    with PROJECTS.sandbox() as sandbox, databases("sqlite") as engine:
        own = sandbox.url.rpartition(":")[2]
        told = link.replace("{trap}", str(trap.getsockname()[1])).replace("{own}", own)
        sandbox.add_fault(PROJECTS.fault("next_foreign", arg=told))
        report = PROJECTS.sync(engine, sandbox)
        assert (end(report), len(PROJECTS.asked(sandbox))) == (("failed", 1), 1)
        assert not caught(trap)
        assert nothing_is_stored(engine)
    assert "link" in str(report.error)
    assert "pw" not in str(report.error)
    assert KEYS["launchdarkly"] not in str(report)


@pytest.mark.row(9)
def test_a_foreign_link_after_good_pages_ends_the_run_on_both_databases(
    engine: Engine, trap: socket.socket
) -> None:
    with PROJECTS.sandbox() as sandbox:
        PROJECTS.sync(engine, sandbox)
        before = contents(engine)
        link = f"http://127.0.0.1:{trap.getsockname()[1]}/api/v2/projects?offset=8"
        sandbox.add_fault(PROJECTS.fault("next_foreign", after=1, arg=link))
        report = PROJECTS.sync(engine, sandbox)
    assert (end(report), caught(trap)) == (("failed", 1), False)
    assert contents(engine) == before


@pytest.mark.row(9)
@pytest.mark.parametrize("form", ["{url}{link}", "{link}"], ids=["absolute", "relative"])
def test_a_link_within_the_origin_is_followed(engine: Engine, form: str) -> None:
    with PROJECTS.sandbox() as sandbox:
        link = form.format(url=sandbox.url, link=f"{PROJECTS.path}?limit=4&offset=4&sort=createdOn")
        sandbox.add_fault(PROJECTS.fault("next_foreign", arg=link))
        assert end(PROJECTS.sync(engine, sandbox)) == ("ok", 0)
        assert PROJECTS.stored(engine) == sorted(PROJECTS.keys(sandbox.world))


@pytest.mark.row(9, 10)
@pytest.mark.parametrize("form", ["no_scheme", "wrong_path", "no_limit", "query_only", "foreign"])
def test_statsigs_next_page_only_says_whether_there_is_one(
    engine: Engine, trap: socket.socket, form: str
) -> None:
    with STATSIG.sandbox() as sandbox:
        link = f"http://127.0.0.1:{trap.getsockname()[1]}/console/v1/layers?page=2"
        foreign = STATSIG.fault("next_foreign", times=3, arg=link)
        odd = form != "foreign"
        sandbox.add_fault(STATSIG.fault("nextpage_form", times=3, arg=form) if odd else foreign)
        report = STATSIG.sync(engine, sandbox)
        asked = [sorted(one.partition("?")[2].split("&")) for one in STATSIG.asked(sandbox)]
        assert STATSIG.stored(engine) == sorted(STATSIG.keys(sandbox.world))
    assert (end(report), caught(trap)) == (("ok", 0), False)
    assert asked == [["limit=5", f"page={number}"] for number in (1, 2, 3, 4)]


@pytest.mark.row(11)
@pytest.mark.parametrize("cap", [1, 2, 3])
def test_pages_smaller_than_asked_for_bring_everything(engine: Engine, cap: int) -> None:
    with Sandbox(small(big_project=True), page_cap=cap) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        assert counts(engine) == sandbox.counts()
        for source, listed in (("st", STATSIG), ("ly", LAYERS_COM)):
            sandbox.reset_requests()
            assert of(sync(engine, settings, source), listed.stream).complete
            records = len(listed.keys(sandbox.world))
            assert len(listed.asked(sandbox)) == -(-records // cap)


@pytest.mark.row(12)
@pytest.mark.parametrize("after", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("listed", [PROJECTS, ENVIRONMENTS, LAYERS_COM], ids=str)
def test_an_empty_page_with_a_next_link_is_not_the_end(
    engine: Engine, listed: List, after: int
) -> None:
    with listed.sandbox() as sandbox:
        sandbox.add_fault(listed.fault("empty_gap", after=after))
        report = listed.sync(engine, sandbox)
        assert listed.stored(engine) == sorted(listed.keys(sandbox.world))
    assert (end(report), listed.told(report).complete) == (("ok", 0), True)


@pytest.mark.row(12)
@pytest.mark.parametrize("listed", ALL, ids=str)
def test_an_empty_last_page_is_the_end_when_the_vendor_says_so(
    engine: Engine, listed: List
) -> None:
    with listed.sandbox() as sandbox:
        sandbox.add_fault(listed.fault("empty_last", times=None))
        report = listed.sync(engine, sandbox)
        pages = -(-len(listed.keys(sandbox.world)) // listed.page)
        assert listed.stored(engine) == sorted(listed.keys(sandbox.world))
        assert (end(report), listed.told(report).complete) == (("ok", 0), True)
        assert len(listed.asked(sandbox)) <= 2 * pages + 2


@pytest.mark.row(13)
@pytest.mark.parametrize("cap", [None, 10], ids=["whole", "paged"])
def test_environments_that_were_cut_are_read_from_their_own_list(
    engine: Engine, cap: int | None
) -> None:
    with Sandbox(small(big_project=True), page_cap=cap) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
        others = {seen.path for seen in sandbox.requests if seen.path.endswith("/environments")}
        stored = rows(engine, "environments", "project_key = 'big-estate'")
        live = sandbox.world.live("launchdarkly", "environments", "big-estate")
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    assert others == {"/api/v2/projects/big-estate/environments"}
    assert len(stored) == 28
    assert sorted(row["key"] for row in stored) == sorted(row.payload["key"] for row in live)
    assert (end(report), of(report, "environments").complete) == (("ok", 0), True)


@pytest.mark.row(23)
@pytest.mark.parametrize("after", [0, 1], ids=["second-page", "third-page"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_cursor_that_is_refused_once_costs_one_more_walk(
    engine: Engine, status: int, after: int
) -> None:
    with LAYERS_COM.sandbox() as sandbox:
        fault = Fault("layers /v1/projects[?]*cursor*", "status", after=after, arg=status)
        sandbox.add_fault(fault)
        report = LAYERS_COM.sync(engine, sandbox)
        asked = LAYERS_COM.asked(sandbox)
        assert LAYERS_COM.stored(engine) == sorted(LAYERS_COM.keys(sandbox.world))
    firsts = sum("cursor" not in one for one in asked)
    assert (end(report), LAYERS_COM.told(report).complete) == (("ok", 0), True)
    assert firsts in (2, 3)  # a first walk of more than one page is made twice in any case


@pytest.mark.row(23)
def test_a_cursor_that_is_refused_every_time_ends_the_run(engine: Engine) -> None:
    with LAYERS_COM.sandbox() as sandbox:
        LAYERS_COM.sync(engine, sandbox)
        before = contents(engine)
        fault = Fault("layers /v1/projects[?]*cursor*", "status", times=None, arg=422)
        sandbox.add_fault(fault)
        sandbox.reset_requests()
        report = LAYERS_COM.sync(engine, sandbox)
        assert len(LAYERS_COM.asked(sandbox)) <= 6
    assert (end(report), contents(engine)) == (("failed", 1), before)
    assert "422 VALIDATION" in str(report.error)


@pytest.mark.row(23)
def test_a_cursor_that_comes_again_ends_the_run_and_the_next_one_is_good(engine: Engine) -> None:
    with LAYERS_COM.sandbox() as sandbox:
        sandbox.add_fault(LAYERS_COM.fault("next_self", after=1))
        report = LAYERS_COM.sync(engine, sandbox)
        assert nothing_is_stored(engine)
        assert end(LAYERS_COM.sync(engine, sandbox)) == ("ok", 0)
    assert end(report) == ("failed", 1)
    assert "leads back to a page already read" in str(report.error)
