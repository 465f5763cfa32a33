"""A second walk that does not read equal pages again comes to what one that reads them comes to."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from etl.config.settings import Settings, load
from etl.extract.pages import PageReader
from etl.model import RunReport
from etl.operations.sync import RunOptions, job_of
from etl.pipeline.live_processes import lives, this_process
from etl.pipeline.run import RunContext, run
from etl.providers.kit import Request, Response, Traffic
from tests.conftest import Databases
from tests.support.database import contents, rows
from tests.support.runs import hour

SIZE = 2  # records a page
CONFIG = """
[database]
url = "sqlite:///unused.db"
[sources.ly]
provider = "layers"
api_key = { env = "KEY" }
[sources.ly.projects]
page_size = 2
[sources.ly.limits]
delete_percent = 100
"""
RECORDS = st.fixed_dictionaries(
    {"id": st.integers(0, 6), "name": st.sampled_from(["a", "b", None])}
)  # None: no name, which is a reject
LISTS = st.lists(RECORDS, max_size=7, unique_by=lambda record: record["id"])
MOVES = st.tuples(st.sampled_from(["add", "drop", "turn", "set", "twice"]), RECORDS)
SCRIPTS = st.dictionaries(st.integers(0, 9), MOVES, max_size=4)  # before which request

List = list[dict[str, Any]]


def moved(listed: List, how: str, record: dict[str, Any]) -> List:
    """The list after something happened to it."""
    place = record["id"] % len(listed) if listed else 0
    if how == "add":
        return [record, *(one for one in listed if one["id"] != record["id"])]
    if how == "drop":
        return listed[:place] + listed[place + 1 :]
    if how == "turn":
        return listed[-1:] + listed[:-1]
    if how == "set":
        return [record if one["id"] == record["id"] else one for one in listed]
    return listed + listed[:1]


def served(listed: List, script: dict[int, tuple[str, Any]]) -> Callable[[Request], Response]:
    """A provider whose list moves while it is read."""
    state, asked = [listed], iter(range(1000))

    def fetch(request: Request) -> Response:
        move = script.get(next(asked))
        if move is not None:
            state[0] = moved(state[0], *move)
        at = int(dict(request.params or ()).get("cursor", "0"))
        page = state[0][at : at + SIZE]
        more = str(at + SIZE) if at + SIZE < len(state[0]) else None
        body = {"items": [item(one) for one in page], "nextCursor": more}
        return Response(status=200, headers={}, body=json.dumps(body).encode(), url="")

    return fetch


def item(record: dict[str, Any]) -> dict[str, Any]:
    """A record as Layers.com gives it."""
    moment = "2026-01-01T00:00:00Z"
    said = {"id": f"prj_{record['id']}", "status": "active", "createdAt": moment}
    named = {} if record["name"] is None else {"name": record["name"]}
    return {**said, **named, "updatedAt": moment}


def synced(
    engine: Engine, config: Settings, fetch: Callable[[Request], Response], at: int, *, twice: bool
) -> RunReport:
    """A run; with `twice` every page is read, as an archive wants every body."""
    keep = (lambda *_: None) if twice else None
    shell = RunContext(
        engine=engine,
        reader=PageReader(fetch=fetch, fingerprint=lambda text: text, keep=keep),
        traffic=Traffic(),
        holder=this_process(),
        alive=lives,
        clock=lambda: hour(at),
    )
    return run(job_of(config.sources["ly"], config, RunOptions()), shell)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    path = tmp_path_factory.mktemp("recall") / "etl.toml"
    path.write_text(CONFIG)
    return load(path, environ={"KEY": "api-00000000-bench"})


@settings(max_examples=20, deadline=None)
@given(LISTS, st.lists(st.tuples(LISTS, SCRIPTS), min_size=1, max_size=2))
def test_equal_pages_need_not_be_read_again(
    config: Settings,
    databases: Databases,
    first: List,
    later: Sequence[tuple[List, dict[int, tuple[str, Any]]]],
) -> None:
    found = []
    for twice in (False, True):
        with databases("sqlite") as engine:
            reports = [synced(engine, config, served(first, {}), 0, twice=twice)]
            for number, (listed, script) in enumerate(later, 1):
                reports.append(synced(engine, config, served(listed, script), number, twice=twice))
            told = [(one.status, one.error, [repr(s) for s in one.streams]) for one in reports]
            rejects = [
                (row["item"], row["reason"], row["resolved_at"]) for row in rows(engine, "rejects")
            ]
            found.append((told, contents(engine), rejects))
    assert found[0] == found[1]
