"""The sandbox's own routes, scenario files, and `serve` in a process of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl.sandbox import Fault, Sizes, World
from etl.sandbox.admin import administer
from etl.sandbox.message import Call
from etl.sandbox.scenario import read, scenario_of
from tests.sandbox.walks import SMALL, ask, small


def test_counts_are_those_of_the_world(client: httpx.Client) -> None:
    with small() as sandbox:
        assert client.get(f"{sandbox.url}/_sandbox/counts").json() == sandbox.world.counts()


def test_evolve_moves_the_world_and_tells_the_mutations(client: httpx.Client) -> None:
    arguments: dict[str, Any] = {
        "changed": 0.1,
        "deleted": 3,
        "renamed": 1,
        "created": 2,
        "restored": 0,
    }
    told = json.loads(json.dumps([asdict(one) for one in World(sizes=SMALL).evolve(**arguments)]))
    with small() as sandbox:
        answer = client.post(f"{sandbox.url}/_sandbox/evolve", json=arguments)
    assert told
    assert answer.json() == told


def test_evolve_without_a_body_takes_the_defaults(client: httpx.Client) -> None:
    with small() as sandbox:
        assert client.post(f"{sandbox.url}/_sandbox/evolve").json()


def test_requests_are_told_and_forgotten(client: httpx.Client) -> None:
    with small() as sandbox:
        ask(client, sandbox, "layers", "/v1/whoami")
        (told,) = client.get(f"{sandbox.url}/_sandbox/requests").json()
        client.delete(f"{sandbox.url}/_sandbox/requests")
        assert told == {"method": "GET", "path": "/v1/whoami", "query": ""} | {
            "status": 200, "provider": "layers"
        }  # fmt: skip
        assert client.get(f"{sandbox.url}/_sandbox/requests").json() == []


def test_reset_brings_back_the_start(client: httpx.Client) -> None:
    with small(Fault("layers", "status", arg=500)) as sandbox:
        before = sandbox.counts()
        first = ask(client, sandbox, "layers").status_code
        sandbox.world.evolve(created=5)
        client.post(f"{sandbox.url}/_sandbox/reset")
        assert sandbox.counts() == before
        assert sandbox.requests == []
        assert first == ask(client, sandbox, "layers").status_code == 500


def test_faults_are_added_and_cleared(client: httpx.Client) -> None:
    with small() as sandbox:
        url = f"{sandbox.url}/_sandbox/faults"
        fault = {"match": "statsig *", "kind": "status", "times": None, "arg": 502}
        assert client.post(url, json=[fault]).json() == {"added": 1}
        assert ask(client, sandbox, "statsig").status_code == 502
        client.delete(url)
        assert ask(client, sandbox, "statsig").status_code == 200


def test_a_patch_and_headers_can_be_said_in_json(client: httpx.Client) -> None:
    faults = [
        {"match": "layers", "kind": "patch", "arg": [["name"], None]},
        {"match": "layers", "kind": "status", "arg": [503, {"Retry-After": "1"}]},
    ]
    with small() as sandbox:
        client.post(f"{sandbox.url}/_sandbox/faults", json=faults)
        assert ask(client, sandbox, "layers").json()["items"][0]["name"] is None
        assert ask(client, sandbox, "layers").headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "evolve", '{"destroyed": 1}', 400),
        ("POST", "evolve", '{"deleted": "many"}', 400),
        ("POST", "evolve", "not json", 400),
        ("POST", "faults", "{}", 400),
        ("POST", "faults", '[{"match": "layers"}]', 400),
        ("POST", "faults", '[{"match": "layers", "kind": "mutate", "arg": "x"}]', 400),
        ("GET", "evolve", "", 405),
        ("GET", "nothing", "", 404),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    client: httpx.Client, method: str, path: str, body: str, status: int
) -> None:
    with small() as sandbox:
        answer = client.request(method, f"{sandbox.url}/_sandbox/{path}", content=body)
        assert answer.status_code == status
        assert answer.json()["message"]


def test_another_machine_is_refused() -> None:
    with small() as sandbox:
        call = Call("POST", "/_sandbox/reset", {})
        assert administer(sandbox, call, "192.0.2.1").status == 403


def test_a_json_file_and_a_toml_file_say_the_same(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "scenario.json", tmp_path / "scenario.toml"
    as_json.write_text(
        '{"seed": 3, "sizes": {"ld_projects": 2}, "rate_limits": {"layers": [1, 60]},'
        ' "faults": [{"match": "layers", "kind": "html", "after": 1}], "page_cap": 5}'
    )
    as_toml.write_text(
        "seed = 3\npage_cap = 5\n[sizes]\nld_projects = 2\n[rate_limits]\nlayers = [1, 60]\n"
        '[[faults]]\nmatch = "layers"\nkind = "html"\nafter = 1\n'
    )
    assert read(as_json) == read(as_toml)
    assert read(as_json).sizes == Sizes(ld_projects=2)
    assert read(as_json).faults == (Fault("layers", "html", after=1),)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"sedd": 3}, "unknown 'sedd'; known are faults"),
        ({"sizes": {"projects": 3}}, "sizes: unknown 'projects'"),
        ({"seed": "x"}, "seed must be int"),
        ({"faults": [{"match": "layers", "kind": "boom"}]}, "no fault 'boom'"),
        ({"faults": [{"kind": "html"}]}, r"faults\[0\] has no match"),
        ({"rate_limits": {"github": [1, 1]}}, "no rate limit 'github'"),
        ([], "scenario must be an object"),
    ],
)
def test_a_wrong_scenario_says_what_is_wrong(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scenario_of(value)


def test_a_wrong_scenario_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json"):
        read(path)


@contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process in which `serve` runs, and its URL."""
    code = (
        "import sys; from pathlib import Path; from etl.sandbox import serve\n"
        "serve(0, scenario=Path(sys.argv[1]) if sys.argv[1:] else None,"
        " ready=lambda sandbox: print(sandbox.url, flush=True))"
    )
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_well_on_a_signal(client: httpx.Client, sent: signal.Signals) -> None:
    with served() as (process, url):
        assert client.get(f"{url}/_sandbox/counts").status_code == 200
        process.send_signal(sent)
        assert process.wait(60) == 0


def test_serve_does_what_the_scenario_says(client: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("seed = 3\n[sizes]\nlayers_projects = 4\n")
    with served(str(path)) as (_, url):
        counts = client.get(f"{url}/_sandbox/counts").json()
    assert counts == World(3, Sizes(layers_projects=4)).counts()


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "[::1"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
@pytest.mark.parametrize(("method", "route"), [("POST", "reset"), ("GET", "requests")])
def test_a_page_of_another_site_commands_nothing(
    client: httpx.Client, method: str, route: str, sent: dict[str, str]
) -> None:
    with small() as sandbox:
        ask(client, sandbox, "layers", "/v1/whoami")
        answer = client.request(method, f"{sandbox.url}/_sandbox/{route}", headers=sent)
        assert (answer.status_code, len(sandbox.requests)) == (403, 1)


def test_its_own_pages_may(client: httpx.Client) -> None:
    with small() as sandbox:
        own = {"Origin": sandbox.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post(f"{sandbox.url}/_sandbox/reset", headers=own).status_code == 200
