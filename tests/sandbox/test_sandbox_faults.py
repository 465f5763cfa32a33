"""Every kind of fault does what its name says, to the requests that it is meant for."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl.sandbox import KEYS, Fault, World
from etl.sandbox.faults import KINDS
from tests.sandbox.walks import HEADERS, ITEMS, LISTS, ask, small

VENDORS = tuple(LISTS)


def faulted(client: httpx.Client, vendor: str, kind: str, arg: Any = None) -> httpx.Response:
    """The answer to the vendor's list with this fault."""
    with small(Fault(vendor, kind, arg=arg)) as sandbox:
        return ask(client, sandbox, vendor)


def right(client: httpx.Client, vendor: str) -> Any:
    """The page as it is without a fault."""
    with small() as sandbox:
        return ask(client, sandbox, vendor).json()


def next_of(vendor: str, page: Any) -> Any:
    """The next pointer of a page."""
    if vendor == "launchdarkly":
        return page["_links"].get("next", {}).get("href")
    return page["pagination"]["nextPage"] if vendor == "statsig" else page["nextCursor"]


def total_of(vendor: str, page: Any) -> Any:
    """The total of a page, None when it has none."""
    return (page if vendor == "launchdarkly" else page["pagination"]).get(
        {"launchdarkly": "totalCount", "statsig": "totalItems"}[vendor]
    )


# --- which requests are hit ---------------------------------------------------------------


def test_a_fault_lets_some_requests_pass_and_hits_so_many(client: httpx.Client) -> None:
    with small(Fault("layers", "status", after=2, times=2, arg=500)) as sandbox:
        found = [ask(client, sandbox, "layers").status_code for _ in range(6)]
    assert found == [200, 200, 500, 500, 200, 200]


def test_a_fault_without_an_end_hits_for_ever(client: httpx.Client) -> None:
    with small(Fault("layers", "status", times=None, arg=503)) as sandbox:
        assert {ask(client, sandbox, "layers").status_code for _ in range(5)} == {503}


def test_faults_follow_each_other(client: httpx.Client) -> None:
    faults = (Fault("statsig", "status", times=2, arg=500), Fault("statsig", "rate_limited"))
    with small(*faults) as sandbox:
        found = [ask(client, sandbox, "statsig").status_code for _ in range(4)]
    assert found == [500, 500, 429, 200]


def test_a_glob_chooses_by_path_and_query(client: httpx.Client) -> None:
    with small(Fault("statsig *page=2*", "status", times=None, arg=500)) as sandbox:
        pages = [f"/console/v1/layers?limit=4&page={number}" for number in (1, 2, 3)]
        found = [ask(client, sandbox, "statsig", page).status_code for page in pages]
    assert found == [200, 500, 200]


def test_other_vendors_are_left_alone(client: httpx.Client) -> None:
    with small(Fault("statsig", "status", times=None, arg=500)) as sandbox:
        assert ask(client, sandbox, "launchdarkly").status_code == 200


def test_faults_are_added_and_cleared_while_it_runs(client: httpx.Client) -> None:
    with small() as sandbox:
        sandbox.add_fault(Fault("layers", "status", times=None, arg=500))
        assert ask(client, sandbox, "layers").status_code == 500
        sandbox.clear_faults()
        assert ask(client, sandbox, "layers").status_code == 200


def test_a_faulted_answer_is_not_kept(client: httpx.Client) -> None:
    with small(Fault("statsig", "no_list")) as sandbox:
        assert "data" not in ask(client, sandbox, "statsig").json()
        assert "data" in ask(client, sandbox, "statsig").json()


def test_faults_in_the_content_of_one_page_add_up(client: httpx.Client) -> None:
    faults = (Fault("statsig", "no_total"), Fault("statsig", "patch", arg=(("id",), 5)))
    with small(*faults) as sandbox:
        page = ask(client, sandbox, "statsig").json()
    assert (total_of("statsig", page), page["data"][0]["id"]) == (None, 5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"match": "launchdarkly", "kind": "explode"},
        {"match": "github", "kind": "html"},
        {"match": "layers", "kind": "status"},
        {"match": "statsig", "kind": "nextpage_form", "arg": "other"},
        {"match": "layers", "kind": "mutate"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no fault|must begin|needs an arg|arg of"):
        Fault(**arguments)


# --- other answers ------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 422, 429, 500, 502, 503, 504])
def test_status_answers_with_that_status_as_json(
    client: httpx.Client, vendor: str, code: int
) -> None:
    answer = faulted(client, vendor, "status", code)
    assert answer.status_code == code
    assert isinstance(answer.json(), dict)


def test_status_can_bring_headers(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "status", (503, {"Retry-After": "7"}))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")


def test_status_401_of_statsig_repeats_even_the_right_key(client: httpx.Client) -> None:
    assert KEYS["statsig"] in faulted(client, "statsig", "status", 401).text


@pytest.mark.parametrize("arg", ["3", "0", "86400", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", None])
def test_rate_limited_says_retry_after_as_told(client: httpx.Client, arg: str | None) -> None:
    answer = faulted(client, "launchdarkly", "rate_limited", arg)
    assert answer.status_code == 429
    assert answer.headers.get("Retry-After") == arg
    assert "X-Ratelimit-Reset" not in answer.headers


@pytest.mark.parametrize(("offset", "reset"), [(5, "1005000"), (-5, "995000"), (0.25, "1000250")])
def test_rate_limited_reset_is_in_epoch_milliseconds(
    client: httpx.Client, offset: float, reset: str
) -> None:
    fault = Fault("launchdarkly", "rate_limited_reset", arg=offset)
    with small(fault, clock=lambda: 1000.0) as sandbox:
        answer = ask(client, sandbox, "launchdarkly")
    assert (answer.status_code, answer.headers["X-Ratelimit-Reset"]) == (429, reset)


def test_closed_ends_the_connection_without_an_answer(client: httpx.Client) -> None:
    with small(Fault("layers", "closed")) as sandbox:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            ask(client, sandbox, "layers")
        assert [seen.status for seen in sandbox.requests] == [0]


def test_html_is_a_page_for_people(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "html")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<html>" in answer.text


def test_redirect_points_where_it_is_told(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "redirect", "http://other.example/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://other.example/")


# --- broken bodies ------------------------------------------------------------------------


def test_cut_declares_more_than_it_sends(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        faulted(client, "layers", "cut")


def test_reset_breaks_the_connection_in_mid_body(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadError):
        faulted(client, "layers", "reset")


@pytest.mark.parametrize("kind", ["truncated", "not_json"])
def test_the_length_is_right_and_the_json_is_not(client: httpx.Client, kind: str) -> None:
    answer = faulted(client, "layers", kind)
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_stall_keeps_the_client_waiting_and_not_the_end_of_the_sandbox(
    client: httpx.Client,
) -> None:
    with (
        small(Fault("layers", "stall", arg=86_400)) as sandbox,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(sandbox.url + LISTS["layers"], headers=HEADERS["layers"], timeout=0.05)


def test_slow_sends_byte_by_byte(client: httpx.Client) -> None:
    begun = time.monotonic()
    with small(Fault("layers", "slow", arg=0.0005)) as sandbox:
        answer = ask(client, sandbox, "layers", "/v1/whoami")
    assert time.monotonic() - begun >= len(answer.content) * 0.0005
    assert answer.json()["scopes"]


def test_nan_is_in_a_page_that_is_right_otherwise(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "nan")
    constants: list[str] = []
    page = json.loads(answer.text, parse_constant=constants.append)
    assert (constants, page["items"]) == (["NaN"], right(client, "layers")["items"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_duplicate_keys_are_at_the_top_level(client: httpx.Client, vendor: str) -> None:
    text = faulted(client, vendor, "duplicate_keys").text
    names = [name for name, _ in json.loads(text, object_pairs_hook=lambda pairs: pairs)]
    assert names.count(ITEMS[vendor]) == 3
    assert json.loads(text)[ITEMS[vendor]] == right(client, vendor)[ITEMS[vendor]]


def test_bom_goes_before_the_json(client: httpx.Client) -> None:
    body = faulted(client, "layers", "bom").content
    assert json.loads(body.decode("utf-8-sig")) == right(client, "layers")
    assert body.startswith(b"\xef\xbb\xbf{")


def test_huge_fills_the_body_up(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "huge", 5_000_000)
    assert len(answer.content) > 5_000_000
    assert json.loads(answer.content) == right(client, "layers")


def test_gzip_bomb_is_small_on_the_wire(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "gzip_bomb", 5_000_000)
    assert int(answer.headers["Content-Length"]) < 20_000
    assert len(answer.content) == 5_000_000
    assert json.loads(answer.content) == right(client, "layers")


@pytest.mark.parametrize(
    ("garbage", "found"), [("\x00", "\x00"), ("\ud800", "\ud800"), (b"\\u0000", "\x00")]
)
def test_garble_puts_text_as_escapes_into_a_name(
    client: httpx.Client, garbage: str | bytes, found: str
) -> None:
    page = faulted(client, "layers", "garble", garbage).json()
    name = right(client, "layers")["items"][0]["name"]
    assert page["items"][0]["name"] == found + name


def test_garble_puts_bytes_as_they_are_into_a_name(client: httpx.Client) -> None:
    body = faulted(client, "launchdarkly", "garble", b"\xff\xfe").content
    assert b'"name":"\xff\xfe' in body
    with pytest.raises(UnicodeDecodeError):
        body.decode()


def test_charset_is_another_one_and_the_headers_say_so(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "charset", "utf-16")
    assert answer.headers["Content-Type"].endswith("charset=utf-16")
    assert json.loads(answer.content.decode("utf-16")) == right(client, "layers")


# --- wrong pages --------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_wrong_type_is_a_list_at_the_top_level(client: httpx.Client, vendor: str) -> None:
    assert faulted(client, vendor, "wrong_type").json() == right(client, vendor)[ITEMS[vendor]]


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_list_leaves_out_the_items_only(client: httpx.Client, vendor: str) -> None:
    page = right(client, vendor)
    del page[ITEMS[vendor]]
    assert faulted(client, vendor, "no_list").json() == page


@pytest.mark.parametrize("vendor", VENDORS)
def test_same_page_ignores_which_page_is_asked_for(client: httpx.Client, vendor: str) -> None:
    later = {
        "launchdarkly": "/api/v2/projects?limit=2&offset=2",
        "statsig": "/console/v1/layers?limit=4&page=2",
        "layers": f"/v1/projects?limit=3&cursor={next_of('layers', right(client, 'layers'))}",
    }
    with small(Fault(vendor, "same_page", times=None)) as sandbox:
        items = ask(client, sandbox, vendor, later[vendor]).json()[ITEMS[vendor]]
    assert items == right(client, vendor)[ITEMS[vendor]]


def test_next_self_points_to_the_page_itself(client: httpx.Client) -> None:
    assert (
        next_of("launchdarkly", faulted(client, "launchdarkly", "next_self").json())
        == (LISTS["launchdarkly"])
    )


@pytest.mark.parametrize("vendor", ["statsig", "layers"])
def test_next_self_gives_the_same_pointer_again(client: httpx.Client, vendor: str) -> None:
    target = LISTS[vendor]
    with small(Fault(vendor, "next_self", times=None)) as sandbox:
        first = next_of(vendor, ask(client, sandbox, vendor).json())
        if vendor == "layers":
            target = f"{target}&cursor={first}"
        assert next_of(vendor, ask(client, sandbox, vendor, target).json()) == first


def test_next_cycle_comes_round_after_three_pages(client: httpx.Client) -> None:
    with small(Fault("launchdarkly", "next_cycle", times=None)) as sandbox:
        targets = ["/api/v2/projects?limit=1&offset=0"]
        for _ in range(6):
            page = ask(client, sandbox, "launchdarkly", targets[-1]).json()
            targets.append(next_of("launchdarkly", page))
    assert targets[0:3] == targets[3:6]
    assert len(set(targets)) == 3


@pytest.mark.parametrize("url", ["http://other.example/x", "ftp://other.example/", "//h:1/"])
def test_next_foreign_points_where_it_is_told(client: httpx.Client, url: str) -> None:
    page = faulted(client, "launchdarkly", "next_foreign", url).json()
    assert next_of("launchdarkly", page) == url


def test_next_scheme_relative_names_another_host_without_a_scheme(client: httpx.Client) -> None:
    page = faulted(client, "launchdarkly", "next_scheme_relative", "host.example:8").json()
    found = next_of("launchdarkly", page)
    assert found == "//host.example:8/api/v2/projects?limit=2&offset=2"


@pytest.mark.parametrize("vendor", ["launchdarkly", "layers"])
def test_behind_an_empty_gap_nothing_is_missing(client: httpx.Client, vendor: str) -> None:
    with small(Fault(vendor, "empty_gap")) as sandbox:
        gap = ask(client, sandbox, vendor).json()
        target = next_of(vendor, gap)
        if vendor == "layers":
            target = f"{LISTS[vendor]}&cursor={target}"
        page = ask(client, sandbox, vendor, target).json()
    assert gap[ITEMS[vendor]] == []
    assert page[ITEMS[vendor]] == right(client, vendor)[ITEMS[vendor]]


@pytest.mark.parametrize("vendor", VENDORS)
def test_empty_last_claims_a_page_that_is_empty(client: httpx.Client, vendor: str) -> None:
    last = {
        "launchdarkly": "/api/v2/projects?limit=100",
        "statsig": "/console/v1/layers?limit=100&page=1",
        "layers": "/v1/projects?limit=100",
    }[vendor]
    with small(Fault(vendor, "empty_last", times=None)) as sandbox:
        target = next_of(vendor, ask(client, sandbox, vendor, last).json())
        if vendor == "layers":
            target = f"{last}&cursor={target}"
        page = ask(client, sandbox, vendor, target).json()
    assert (page[ITEMS[vendor]], next_of(vendor, page)) == ([], None)


@pytest.mark.parametrize("vendor", VENDORS)
def test_empty_list_is_empty_and_the_last_page(client: httpx.Client, vendor: str) -> None:
    page = faulted(client, vendor, "empty_list").json()
    assert (page[ITEMS[vendor]], next_of(vendor, page)) == ([], None)
    assert vendor == "layers" or total_of(vendor, page) == 0


@pytest.mark.parametrize("vendor", ["launchdarkly", "statsig"])
def test_short_total_claims_more_than_there_is(client: httpx.Client, vendor: str) -> None:
    page = faulted(client, vendor, "short_total", 3).json()
    assert total_of(vendor, page) == total_of(vendor, right(client, vendor)) + 3


@pytest.mark.parametrize("vendor", ["launchdarkly", "statsig"])
def test_no_total_leaves_the_total_out(client: httpx.Client, vendor: str) -> None:
    assert total_of(vendor, faulted(client, vendor, "no_total").json()) is None


@pytest.mark.parametrize("vendor", VENDORS)
def test_patch_sets_a_field_of_the_first_item_only(client: httpx.Client, vendor: str) -> None:
    page = faulted(client, vendor, "patch", (("deep", "field"), [None])).json()
    page[ITEMS[vendor]][0].pop("deep")
    assert page == right(client, vendor)


def test_patch_deletes_a_field(client: httpx.Client) -> None:
    page = faulted(client, "statsig", "patch", (("idType",), "__delete__")).json()
    assert "idType" not in page["data"][0]
    assert "idType" in page["data"][1]


def test_patch_reaches_a_single_record(client: httpx.Client) -> None:
    with small(Fault("launchdarkly", "patch", arg=(("name",), 7))) as sandbox:
        assert ask(client, sandbox, "launchdarkly", "/api/v2/projects/a").status_code == 404
        sandbox.add_fault(Fault("launchdarkly", "patch", arg=(("name",), 7)))
        record = ask(client, sandbox, "launchdarkly", "/api/v2/projects/Search").json()
    assert record["name"] == 7


def test_a_patched_page_leaves_the_world_as_it_was(client: httpx.Client) -> None:
    with small(Fault("layers", "patch", arg=(("name",), "x"))) as sandbox:
        before = sandbox.world.records("layers", "projects")
        ask(client, sandbox, "layers")
        assert sandbox.world.records("layers", "projects") == before


@pytest.mark.parametrize(
    ("vendor", "field"),
    [("launchdarkly", "name"), ("statsig", "description"), ("layers", "name")],
)
def test_duplicate_item_comes_twice_with_another_name(
    client: httpx.Client, vendor: str, field: str
) -> None:
    first, second, *rest = faulted(client, vendor, "duplicate_item").json()[ITEMS[vendor]]
    items = right(client, vendor)[ITEMS[vendor]]
    assert first | {field: None} == second | {field: None}
    assert first[field] != second[field]
    assert [first, *rest] == items


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("no_scheme", "statsigapi.net/console/v1/layers?page=2&limit=4"),
        ("wrong_path", "/console/v1/metrics/list?page=2&limit=4"),
        ("no_limit", "/console/v1/layers?page=2"),
        ("query_only", "?page=2&limit=4"),
    ],
)
def test_nextpage_takes_the_odd_forms_that_statsig_documents(
    client: httpx.Client, form: str, text: str
) -> None:
    assert next_of("statsig", faulted(client, "statsig", "nextpage_form", form).json()) == text


def test_nextpage_forms_leave_the_last_page_the_last(client: httpx.Client) -> None:
    with small(Fault("statsig", "nextpage_form", arg="query_only")) as sandbox:
        page = ask(client, sandbox, "statsig", "/console/v1/layers?limit=100&page=1").json()
    assert next_of("statsig", page) is None


# --- answers of other requests ------------------------------------------------------------


def received(path: str, fault: Fault, wanted: int) -> list[bytes]:
    """The bodies that come to two requests of one connection, so many of them."""
    lines = [f"{name}: {value}" for name, value in HEADERS["layers"].items()]
    ask_ = "\r\n".join([f"GET {path} HTTP/1.1", "Host: sandbox", *lines, "", ""]).encode()
    with small(fault) as sandbox:
        address = ("127.0.0.1", int(sandbox.url.rsplit(":", 1)[1]))
        with socket.create_connection(address) as connection:
            connection.sendall(ask_ + ask_.replace(b"limit=1", b"limit=2"))
            came = b""
            while came.count(b"HTTP/1.1 ") < wanted or not came.endswith(b"}"):
                came += connection.recv(65536)
    return [one.split(b"\r\n\r\n")[1] for one in came.split(b"HTTP/1.1 ")[1:]]


def test_twice_sends_an_answer_two_times() -> None:
    first, again, second = received("/v1/projects?limit=1", Fault("layers", "twice"), 3)
    assert first == again != second


def test_delayed_sends_the_last_answer_again_before_the_next_one() -> None:
    fault = Fault("layers", "delayed", after=1)
    first, again, second = received("/v1/projects?limit=1", fault, 3)
    assert first == again != second


def test_previous_gives_the_last_answer_in_place_of_the_next_one() -> None:
    fault = Fault("layers", "previous", after=1)
    first, again = received("/v1/projects?limit=1", fault, 2)
    assert first == again


def test_behind_sends_bytes_behind_an_answer() -> None:
    fault = Fault("layers", "behind", arg=b"HTTP/1.1 404 Not Found\r\n\r\n{}")
    first, behind, second = received("/v1/projects?limit=1", fault, 3)
    assert (len(json.loads(first)["items"]), behind) == (1, b"{}")
    assert len(json.loads(second)["items"]) == 2


def test_patch_page_puts_a_value_into_the_page_itself(client: httpx.Client) -> None:
    answer = faulted(client, "layers", "patch_page", (("nextCursor",), "odd"))
    assert answer.json() == right(client, "layers") | {"nextCursor": "odd"}


# --- changes in mid-walk ------------------------------------------------------------------


def test_mutate_deletes_while_a_client_walks(client: httpx.Client) -> None:
    def delete(world: World) -> None:
        world.delete("launchdarkly", "projects", "my-project")

    fault = Fault("launchdarkly", "mutate", after=1, arg=delete)
    with small(fault) as sandbox:
        first = ask(client, sandbox, "launchdarkly").json()
        second = ask(client, sandbox, "launchdarkly", next_of("launchdarkly", first)).json()
    keys = [item["key"] for page in (first, second) for item in page["items"]]
    assert keys == ["my-project", "big-estate", "search", "Search"]  # Mobile.App_2 was skipped
    assert second["totalCount"] == 4


def test_mutate_does_not_keep_another_fault_from_the_same_request(client: httpx.Client) -> None:
    def create(world: World) -> None:
        world.create("statsig", "layers")

    with small(
        Fault("statsig", "mutate", arg=create), Fault("statsig", "status", arg=500)
    ) as sandbox:
        assert ask(client, sandbox, "statsig").status_code == 500
        assert total_of("statsig", ask(client, sandbox, "statsig").json()) == 15


def test_every_kind_of_fault_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in sorted(KINDS) if f'"{kind}"' not in text] == []
