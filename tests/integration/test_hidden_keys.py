"""A key that the caller may not see: no rotation, no change, and the last one known stays."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Engine, update

from tests.support.database import count, rows
from tests.support.history import violations
from tests.support.internals.database import RECORDS, change_fields, notices, open_engine
from tests.support.internals.running import (
    PageReader,
    RunContext,
    RunOptions,
    Settings,
    job_of,
    lives,
    load,
    preview,
    reprocess,
    run,
    this_process,
    wanted_of,
)
from tests.support.internals.values import Request, Response, Traffic, fingerprint_with
from tests.support.runs import hour
from tests.unit.builders import environment, project

ENVIRONMENTS = RECORDS["environments"].current
ABSENT = object()
HIDDEN: dict[str, Any] = {
    "absent": ABSENT,
    "null": None,
    "empty": "",
    "blank": " \t ",
    "asterisks": "*" * 40,
    "masked": "sdk-********-****-****-****-************",
    "masked but for its end": "sdk-********-****-****-****-********00aa",
    "dots": "sdk-....",
    "bullets": "••••••••",
    "the letter x": "sdk-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
    "zeros": "sdk-00000000-0000-0000-0000-000000000000",
    "ellipsis": "sdk-…00aa",
    "cut": "sdk-00000000-0000-4000-8000-00000000",
    "cut at its start": "0000-4000-8000-0000000000aa",
    "hidden": "hidden",
    "redacted": "[REDACTED]",
    "a sentence": "sdk-key-hidden-as-your-role-may-not-see-it",
    "number": 42,
    "fraction": 4.5,
    "boolean": False,
    "object": {"value": None},
    "object with a text": {"_value": "redacted"},
    "list": [],
    "list of a text": ["hidden"],
}
CONFIG = """
[database]
url = "sqlite:///unused.db"
[sources.ld]
provider = "launchdarkly"
api_key = { env = "KEY" }
"""


def key(kind: str, number: int) -> str:
    """A key of the vendor's shape."""
    return f"{kind}-00000000-0000-4000-8000-{number:012x}"


Shown = Sequence[tuple[Any, Any]]


class Vendor:
    """A project with an environment for each pair of an SDK and a mobile key that it shows."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        config = folder / "etl.toml"
        config.write_text(CONFIG)
        self.settings: Settings = load(config, environ={"KEY": "k"})
        self.engine = engine
        self.runs = 0
        self.environments: list[dict[str, Any]] = []

    def fetch(self, request: Request) -> Response:
        body: dict[str, Any] = {"items": [], "totalCount": 0}
        if request.path == "/api/v2/projects/my-project":
            body = project()
        elif request.path == "/api/v2/projects":
            listed = {"items": self.environments, "totalCount": len(self.environments)}
            body = {"items": [project(environments=listed)], "totalCount": 1}
        elif request.path == "/api/v2/caller-identity":
            body = {"accountId": "one"}
        return Response(status=200, headers={}, body=json.dumps(body).encode(), url="")

    def show(self, shown: Shown, **fields: Any) -> int:
        """A run that sees these keys; its number."""
        self.environments = [
            {
                name: value
                for name, value in environment(apiKey=sdk, mobileKey=mobile, **fields).items()
                if value is not ABSENT
            }
            | {"_id": f"{number:024x}", "key": f"e{number:02}"}
            for number, (sdk, mobile) in enumerate(shown)
        ]
        job = job_of(self.settings.sources["ld"], self.settings, RunOptions(force_deletes=True))
        reader = PageReader(fetch=self.fetch, fingerprint=print_of)
        clock = hour(self.runs)
        shell = RunContext(
            engine=self.engine,
            reader=reader,
            traffic=Traffic(),
            holder=this_process(),
            alive=lives,
            clock=lambda: clock,
        )
        report = run(job, shell)
        self.runs += 1
        assert (report.status, count(self.engine, "rejects")) == ("ok", 0)
        assert report.run_id is not None
        return report.run_id

    def rotations(self) -> list[tuple[str, str, str, str]]:
        """(environment, kind, from, to) of each, as the report tells them."""
        names = ("environment_key", "kind", "old_fingerprint", "new_fingerprint")
        found = rows(self.engine, "key_rotations")
        return sorted((row[names[0]], row[names[1]], row[names[2]], row[names[3]]) for row in found)

    def prints(self) -> list[tuple[str | None, str | None]]:
        found = sorted(rows(self.engine, "environments"), key=lambda row: row["key"])
        return [(row["sdk_key_fingerprint"], row["mobile_key_fingerprint"]) for row in found]

    def told(self, run_id: int) -> list[str]:
        """The rotations that a notice of a run tells."""
        with self.engine.connect() as connection:
            return notices.rotated(connection, run_id)

    def changes(self) -> int:
        """The events of environments after the first run."""
        return count(self.engine, "changes", "stream = 'environments' AND run_id > 1")


def keys(sdk: int, mobile: int = 1) -> tuple[str, str]:
    return key("sdk", sdk), key("mob", mobile)


def print_of(secret: str) -> str:
    return fingerprint_with("a key for tests")(secret)


def prints(sdk: int, mobile: int = 1) -> tuple[str, str]:
    one, other = keys(sdk, mobile)
    return print_of(one), print_of(other)


EVERY: Shown = [(value, value) for value in HIDDEN.values()]
OTHERS: Shown = [*EVERY[1:], *EVERY[:1]]
ALL = len(EVERY)


@pytest.fixture
def vendor(engine: Engine, tmp_path: Path) -> Vendor:
    return Vendor(engine, tmp_path)


def test_a_key_that_is_hidden_and_shown_again_in_any_way_changes_nothing(vendor: Vendor) -> None:
    vendor.show([keys(1)] * ALL)
    before = vendor.prints()
    only_sdk = [(sdk, key("mob", 1)) for sdk, _ in EVERY]
    only_mobile = [(key("sdk", 1), mobile) for _, mobile in EVERY]
    for shown in (EVERY, OTHERS, [keys(1)] * ALL, only_sdk, only_mobile, [keys(1)] * ALL):
        vendor.show(shown)
        assert vendor.prints() == before
    assert (vendor.rotations(), vendor.changes()) == ([], 0)
    assert violations(vendor.engine) == []


def test_a_key_that_comes_back_as_another_is_one_rotation(vendor: Vendor) -> None:
    vendor.show([keys(1)] * ALL)
    vendor.show(EVERY)
    vendor.show(OTHERS)
    last = vendor.show([keys(2)] * ALL)
    (old, _), (new, _) = prints(1), prints(2)
    assert vendor.rotations() == [(f"e{number:02}", "sdk", old, new) for number in range(ALL)]
    assert vendor.told(last) == [f"my-project/e{number:02}: apiKey" for number in range(ALL)]
    assert vendor.changes() == ALL
    assert violations(vendor.engine) == []


def test_keys_hidden_from_the_start_are_unknown_and_their_appearance_is_no_rotation(
    vendor: Vendor,
) -> None:
    vendor.show(EVERY)
    vendor.show(OTHERS)
    assert (vendor.prints(), vendor.changes()) == ([(None, None)] * ALL, 0)
    shown = vendor.show([keys(1)] * ALL)
    assert (vendor.prints(), vendor.changes()) == ([prints(1)] * ALL, ALL)
    assert (vendor.rotations(), vendor.told(shown)) == ([], [])
    assert violations(vendor.engine) == []


def test_two_keys_that_are_rotated_at_once_are_two_rotations(vendor: Vendor) -> None:
    vendor.show([keys(1, 1)])
    last = vendor.show([keys(2, 2)])
    assert vendor.told(last) == ["my-project/e00: apiKey", "my-project/e00: mobileKey"]
    assert [kind for _, kind, *_ in vendor.rotations()] == ["mobile", "sdk"]


def test_another_change_while_the_keys_are_hidden_is_told_alone(vendor: Vendor) -> None:
    vendor.show([keys(1)])
    vendor.show([("***", None)], color="000000")
    assert [row["path"] for row in rows(vendor.engine, "change_fields")] == ["color"]
    assert vendor.prints() == [prints(1)]
    (stored,) = rows(vendor.engine, ENVIRONMENTS)
    assert (stored["raw"]["apiKey"], stored["raw"]["mobileKey"]) == prints(1)


def test_an_environment_that_comes_back_with_hidden_keys_keeps_what_was_known(
    vendor: Vendor,
) -> None:
    vendor.show([keys(1)])
    vendor.show([])
    vendor.show([(ABSENT, "•••")])
    assert vendor.prints() == [prints(1)]
    vendor.show([keys(2)])
    assert [kind for _, kind, *_ in vendor.rotations()] == ["sdk"]
    assert violations(vendor.engine) == []


def test_white_space_around_a_key_is_no_rotation(vendor: Vendor) -> None:
    vendor.show([keys(1)])
    vendor.show([(f" {key('sdk', 1)}\n", key("mob", 1))])
    assert vendor.changes() == 0


def test_no_mask_and_no_part_of_a_key_is_stored(vendor: Vendor) -> None:
    vendor.show([("sdk-…00aa", {"value": "part-of-a-key"})])
    (row,) = rows(vendor.engine, ENVIRONMENTS)
    assert row["raw"].keys().isdisjoint({"apiKey", "mobileKey"})


def test_reprocessing_leads_to_the_same_rows(vendor: Vendor) -> None:
    vendor.show([("***", None)])
    vendor.show([keys(1)])
    vendor.show([("***", ABSENT)], color="000000")
    vendor.show([])
    vendor.show([(None, "")])
    vendor.show([keys(2)])
    assert preview(vendor.engine, wanted_of(vendor.settings.sources["ld"])).counts == {}


def test_reprocessing_takes_changes_of_the_past_back_that_were_none(vendor: Vendor) -> None:
    """As payloads were stored when a hidden key was a change."""
    vendor.show([keys(1)])
    vendor.show([keys(1)], color="000000")
    (found,) = rows(vendor.engine, ENVIRONMENTS)
    raw = {**found["raw"], "color": "F5A623", "apiKey": None}
    told = {"path": "apiKey", "old_value": prints(1)[0], "new_value": JSON.NULL}
    with vendor.engine.begin() as connection:
        connection.execute(update(ENVIRONMENTS).values(raw=raw, sdk_key_fingerprint=None))
        connection.execute(update(change_fields).values(told))
    assert vendor.rotations() == []
    reprocess(vendor.engine, wanted_of(vendor.settings.sources["ld"]))
    assert (vendor.changes(), vendor.prints()) == (0, [prints(1)])
    assert violations(vendor.engine) == []


KEY = st.integers(1, 3)
SEEN = st.lists(st.tuples(*[KEY | st.sampled_from(sorted(HIDDEN))] * 2), min_size=2, max_size=5)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(environments=st.lists(SEEN, min_size=8, max_size=12))
def test_there_are_as_many_rotations_as_changes_between_keys_that_were_seen(
    environments: list[list[tuple[int | str, int | str]]],
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
) -> None:
    folder = tmp_path_factory.mktemp("rotations")
    (folder / "etl.db").write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{folder / 'etl.db'}")
    vendor = Vendor(engine, folder)
    for moment in range(max(map(len, environments))):
        now = [seen[min(moment, len(seen) - 1)] for seen in environments]
        vendor.show([tuple(map(_shown, ("sdk", "mob"), pair)) for pair in now])
    expected = Counter(
        {
            (f"e{number:02}", kind): rotated
            for number, seen in enumerate(environments)
            for place, kind in enumerate(("sdk", "mobile"))
            if (rotated := _rotations([pair[place] for pair in seen]))
        }
    )
    assert Counter((key, kind) for key, kind, *_ in vendor.rotations()) == expected
    assert violations(engine) == []
    engine.dispose()


def _shown(kind: str, seen: int | str) -> Any:
    return HIDDEN[seen] if isinstance(seen, str) else key(kind, seen)


def _rotations(seen: Sequence[int | str]) -> int:
    visible = [one for one in seen if not isinstance(one, str)]
    return sum(one != other for one, other in pairwise(visible))
