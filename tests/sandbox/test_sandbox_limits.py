"""Rate limits: announced always, enforced when asked for, by a clock that the test moves."""

import httpx
import pytest

from etl.sandbox import Sandbox, World
from tests.sandbox.walks import SMALL, ask, small

LAYERS_OF = "/api/v2/projects/{}/layers"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_launchdarkly_counts_down_to_a_refusal_and_begins_anew(client: httpx.Client) -> None:
    clock = Clock()
    with small(rate_limits={"launchdarkly-route": (2, 10)}, clock=clock) as sandbox:
        answers = [ask(client, sandbox, "launchdarkly") for _ in range(3)]
        clock.now += 10
        answers.append(ask(client, sandbox, "launchdarkly"))
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    left = [answer.headers["X-Ratelimit-Route-Remaining"] for answer in answers]
    assert left == ["1", "0", "0", "1"]
    assert answers[2].headers["X-Ratelimit-Reset"] == "1000010000"
    assert answers[2].json()["code"] == "rate_limited"


@pytest.mark.parametrize(
    "limits",
    [
        {"launchdarkly-global": (9, 10), "launchdarkly-route": (1, 30)},
        {"launchdarkly-global": (1, 30), "launchdarkly-route": (9, 10)},
    ],
)
def test_the_reset_is_that_of_the_window_that_refuses(
    client: httpx.Client, limits: dict[str, tuple[int, float]]
) -> None:
    with small(rate_limits=limits, clock=Clock()) as sandbox:
        ask(client, sandbox, "launchdarkly")
        refused = ask(client, sandbox, "launchdarkly")
    assert (refused.status_code, refused.headers["X-Ratelimit-Reset"]) == (429, "1000030000")


def test_a_route_is_a_pattern_and_not_a_path(client: httpx.Client) -> None:
    with small(rate_limits={"launchdarkly-route": (1, 10)}, clock=Clock()) as sandbox:
        targets = [LAYERS_OF.format("my-project"), LAYERS_OF.format("search"), "/api/v2/projects"]
        found = [ask(client, sandbox, "launchdarkly", one).status_code for one in targets]
    assert found == [200, 429, 200]


def test_launchdarkly_announces_limits_that_nobody_enforces(client: httpx.Client) -> None:
    with small() as sandbox:
        answers = [ask(client, sandbox, "launchdarkly") for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    assert "X-Ratelimit-Global-Limit" in answers[0].headers


def test_layers_says_how_long_to_wait(client: httpx.Client) -> None:
    clock = Clock()
    with small(rate_limits={"layers": (1, 60)}, clock=clock) as sandbox:
        first = ask(client, sandbox, "layers")
        clock.now += 20
        second = ask(client, sandbox, "layers")
    assert first.headers["X-RateLimit-Endpoint-Class"] == "read-light"
    assert (second.status_code, second.headers["Retry-After"]) == (429, "40")
    assert second.json()["error"]["code"] == "RATE_LIMITED"


def test_statsig_refuses_without_a_word_on_when(client: httpx.Client) -> None:
    with small(rate_limits={"statsig": (1, 10)}, clock=Clock()) as sandbox:
        ask(client, sandbox, "statsig")
        refused = ask(client, sandbox, "statsig")
    assert refused.status_code == 429
    assert not [name for name in refused.headers if "retry" in name or "rate" in name]


def test_no_limits_given_but_enforced_are_the_vendors_own(client: httpx.Client) -> None:
    with small(rate_limits={}, clock=Clock()) as sandbox:
        found = [ask(client, sandbox, "launchdarkly").status_code for _ in range(41)]
    assert (found.count(200), found.count(429)) == (40, 1)


@pytest.mark.parametrize("limits", [{"github": (1, 1)}, {"layers": (0, 1)}, {"layers": 5}])
def test_a_limit_that_makes_no_sense_is_refused(limits: dict[str, tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        Sandbox(World(sizes=SMALL), rate_limits=limits)
