"""The sandbox as a server: the vendors' lists, keys, filters and errors, over real HTTP."""

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from etl.sandbox import KEYS, Sandbox, World
from etl.sandbox.connection import parsed
from tests.sandbox import walks
from tests.sandbox.walks import HEADERS, ITEMS, LISTS, SMALL, ask, small

VENDORS = tuple(LISTS)


def test_a_walk_through_all_lists_finds_exactly_the_counts(client: httpx.Client) -> None:
    with Sandbox() as sandbox:
        assert walks.everything(client, sandbox) == sandbox.counts()


def test_a_walk_after_evolution_finds_exactly_the_new_counts(client: httpx.Client) -> None:
    with small() as sandbox:
        before = sandbox.counts()
        sandbox.world.evolve(deleted=3, created=5)
        assert walks.everything(client, sandbox) == sandbox.counts() != before


def test_a_smaller_page_cap_than_the_limit_loses_nothing(client: httpx.Client) -> None:
    with small(page_cap=2) as sandbox:
        page = ask(client, sandbox, "statsig", "/console/v1/layers?limit=100&page=1").json()
        assert len(page["data"]) == page["pagination"]["itemsPerPage"] == 2
        assert walks.everything(client, sandbox) == sandbox.counts()


def test_many_clients_at_once_all_find_everything(client: httpx.Client) -> None:
    with small() as sandbox, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: walks.everything(client, sandbox), range(8)))
        assert found == [sandbox.counts()] * 8


def test_two_sandboxes_give_the_same_bytes(client: httpx.Client) -> None:
    with small() as one, small() as other:
        for vendor in VENDORS:
            assert ask(client, one, vendor).content == ask(client, other, vendor).content


@pytest.mark.parametrize("vendor", ["launchdarkly", "statsig"])
def test_the_same_page_asked_again_differs_without_a_change(
    client: httpx.Client, vendor: str
) -> None:
    with small() as sandbox:
        first, second, third = (ask(client, sandbox, vendor).json() for _ in range(3))
        assert first != second
        assert first == third
        assert plain(first[ITEMS[vendor]]) == plain(second[ITEMS[vendor]])


def plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items without `_access` and without an order of tags."""
    return [
        {k: sorted(v) if k == "tags" else v for k, v in item.items() if k != "_access"}
        for item in items
    ]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "nope", "STATSIG-API-KEY": "nope"}])
def test_without_the_right_key_the_answer_is_401(
    client: httpx.Client, vendor: str, headers: dict[str, str]
) -> None:
    with small() as sandbox:
        assert client.get(sandbox.url + LISTS[vendor], headers=headers).status_code == 401


def test_a_bearer_prefix_is_wrong_for_launchdarkly(client: httpx.Client) -> None:
    with small() as sandbox:
        headers = {"Authorization": f"Bearer {KEYS['launchdarkly']}"}
        assert client.get(f"{sandbox.url}/api/v2/projects", headers=headers).status_code == 401


def test_statsig_repeats_the_key_that_it_refuses(client: httpx.Client) -> None:
    with small() as sandbox:
        answer = client.get(
            f"{sandbox.url}/console/v1/layers", headers={"STATSIG-API-KEY": "console-wrong"}
        )
        assert answer.json()["status"] == 401
        assert "console-wrong" in answer.json()["message"]


def test_the_narrow_key_sees_three_projects_and_403_for_the_others(client: httpx.Client) -> None:
    with small() as sandbox:
        headers = HEADERS["launchdarkly"] | {"Authorization": KEYS["launchdarkly-narrow"]}
        page = client.get(f"{sandbox.url}/api/v2/projects", headers=headers).json()
        single = client.get(f"{sandbox.url}/api/v2/projects/Search", headers=headers)
        assert (page["totalCount"], len(page["items"])) == (3, 3)
        assert single.status_code == 403


def test_an_embedded_list_of_28_environments_is_cut_at_20(client: httpx.Client) -> None:
    with small() as sandbox:
        target = "/api/v2/projects/big-estate?expand=environments"
        inner = ask(client, sandbox, "launchdarkly", target).json()["environments"]
        assert (len(inner["items"]), inner["totalCount"]) == (20, 28)
        rest = list(walks.launchdarkly(client, sandbox, inner["_links"]["next"]["href"]))
        assert len({item["key"] for item in inner["items"] + rest}) == 28


def test_without_a_version_launchdarkly_lists_are_not_paged(client: httpx.Client) -> None:
    with small() as sandbox:
        headers = {"Authorization": KEYS["launchdarkly"]}
        page = client.get(f"{sandbox.url}/api/v2/projects?limit=1", headers=headers).json()
        assert len(page["items"]) == SMALL.ld_projects
        assert isinstance(page["items"][0]["environments"], list)


@pytest.mark.parametrize(
    ("vendor", "target", "keys"),
    [
        ("launchdarkly", "/api/v2/projects?filter=query:MOBILE.app", ["Mobile.App_2"]),
        ("launchdarkly", "/api/v2/projects?filter=keys:my-project|big-estate", None),
        ("launchdarkly", "/api/v2/projects?sort=-createdOn&limit=1", ["Search"]),
        ("layers", "/v1/projects?search=acme", None),
        ("layers", "/v1/projects?status=archived", None),
        ("statsig", "/console/v1/layers?creatorName=nobody", []),
    ],
)
def test_filters_and_sorts_narrow_the_list(
    client: httpx.Client, vendor: str, target: str, keys: list[str] | None
) -> None:
    with small() as sandbox:
        items = ask(client, sandbox, vendor, target).json()[ITEMS[vendor]]
        every = sandbox.counts()[vendor]["layers" if vendor == "statsig" else "projects"]
        if keys is None:
            assert 0 < len(items) < every
        else:
            assert [item["key"] for item in items] == keys


@pytest.mark.parametrize(
    ("vendor", "target", "status"),
    [
        ("launchdarkly", "/api/v2/projects?limit=x", 400),
        ("launchdarkly", "/api/v2/projects?filter=colour:red", 400),
        ("launchdarkly", "/api/v2/projects?sort=age", 400),
        ("launchdarkly", "/api/v2/projects/none/layers", 404),
        ("launchdarkly", "/api/v2/nothing", 404),
        ("statsig", "/console/v1/layers?page=0", 400),
        ("statsig", "/console/v1/layers/none", 404),
        ("statsig", "/console/v1/nothing", 404),
        ("layers", "/v1/projects?limit=201", 422),
        ("layers", "/v1/projects?cursor=garbage", 422),
        ("layers", "/v1/projects/none", 404),
        ("layers", "/v1/nothing", 404),
    ],
)
def test_what_is_refused_has_the_shape_of_the_vendor(
    client: httpx.Client, vendor: str, target: str, status: int
) -> None:
    with small() as sandbox:
        answer = ask(client, sandbox, vendor, target)
        members = {"launchdarkly": "code", "statsig": "status", "layers": "error"}
        assert answer.status_code == status
        assert members[vendor] in answer.json()


@pytest.mark.parametrize(
    ("vendor", "target"),
    [
        ("launchdarkly", "/api/v2/projects/my-project"),
        ("launchdarkly", "/api/v2/caller-identity"),
        ("launchdarkly", "/api/v2/versions"),
        ("statsig", "/console/v1/layers/..%2F..%2Fetc%2Fpasswd"),
        ("statsig", "/console/v1/layers/a%2Fb%20split%20100%25%20of%20users!"),
        ("statsig", "/console/v1/project"),
        ("statsig", "/console/v1/settings/project"),
        ("layers", "/v1/whoami"),
    ],
)
def test_single_records_and_identities_are_there(
    client: httpx.Client, vendor: str, target: str
) -> None:
    with small() as sandbox:
        assert ask(client, sandbox, vendor, target).status_code == 200


def test_a_project_of_layers_is_found_with_and_without_its_prefix(client: httpx.Client) -> None:
    with small() as sandbox:
        key = sandbox.world.records("layers", "projects")[0]["id"]
        for form in (key, key.removeprefix("prj_")):
            assert ask(client, sandbox, "layers", f"/v1/projects/{form}").json()["id"] == key


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_only_get_is_answered(client: httpx.Client, vendor: str, method: str) -> None:
    with small() as sandbox:
        url = sandbox.url + LISTS[vendor]
        answer = client.request(method, url, headers=HEADERS[vendor], content=b"{}")
        assert answer.status_code == 405


def test_a_path_of_no_vendor_is_404(client: httpx.Client) -> None:
    with small() as sandbox:
        assert client.get(f"{sandbox.url}/api/v20/projects").status_code == 404


def test_requests_are_recorded_in_order_with_their_status(client: httpx.Client) -> None:
    with small() as sandbox:
        ask(client, sandbox, "statsig")
        client.get(f"{sandbox.url}/v1/projects")
        assert [(s.provider, s.path, s.query, s.status) for s in sandbox.requests] == [
            ("statsig", "/console/v1/layers", "limit=4&page=1", 200),
            ("layers", "/v1/projects", "", 401),
        ]


def test_no_key_is_in_the_record_of_requests(client: httpx.Client) -> None:
    with small() as sandbox:
        for vendor in VENDORS:
            ask(client, sandbox, vendor, f"{LISTS[vendor]}&key={KEYS[vendor]}")
        text = repr(sandbox.requests)
        assert len(sandbox.requests) == 3
        assert not [key for key in KEYS.values() if key in text]


def test_a_call_shows_no_headers() -> None:
    assert "secret" not in repr(parsed(b"GET / HTTP/1.1\r\nAuthorization: secret"))


def test_several_requests_in_one_packet_are_all_answered() -> None:
    request = f"GET /v1/whoami HTTP/1.1\r\nAuthorization: Bearer {KEYS['layers']}\r\n\r\n".encode()
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with small() as sandbox, _connected(sandbox) as connection:
        connection.sendall(request * 2 + last)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        assert received.count(b"HTTP/1.1 200 OK") == 3


def test_nonsense_instead_of_a_request_is_400() -> None:
    with small() as sandbox, _connected(sandbox) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_nothing_is_left_when_the_sandbox_is_closed() -> None:
    before = set(threading.enumerate())
    with small() as sandbox, _connected(sandbox) as connection:
        sandbox.__exit__(None, None, None)
        assert connection.recv(1) == b""
    assert set(threading.enumerate()) == before


def test_a_sandbox_that_is_not_running_has_no_url() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        _ = Sandbox(World(sizes=SMALL)).url


def test_latency_goes_before_every_answer(client: httpx.Client) -> None:
    with small(latency=30.0) as sandbox, pytest.raises(httpx.ReadTimeout):
        client.get(sandbox.url + LISTS["layers"], headers=HEADERS["layers"], timeout=0.05)


def test_the_sandbox_imports_nothing_else_of_etl() -> None:
    code = "import etl.sandbox, sys; print(*[m for m in sys.modules if m.startswith('etl.')])"
    command = [sys.executable, "-c", code]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert names
    assert not [name for name in names if not name.startswith("etl.sandbox")]


def _connected(sandbox: Sandbox) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2])), timeout=60)
