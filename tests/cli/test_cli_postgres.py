"""Every question gets the same answer from SQLite and Postgres."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Sandbox
from tests.cli.command import IN_TURN, Ended, Place
from tests.support.runs import config_text, small

QUESTIONS = (
    "status --json",
    "status st --json",
    "runs --json",
    "show 4 --json",
    "changes --format json",
    "changes --since 1h --stream layers --format json",
    "history projects search --format json",
    "history layers Checkout --format json",
    "db current",
    "db check",
)
TIMES = {
    "observed_at",
    "oldest_read_at",
    "last_complete_at",
    "age_seconds",
    "started_at",
    "finished_at",
    "scope",
}


@pytest.fixture
def places(both: tuple[Engine, Engine], tmp_path: Path) -> Iterator[list[Place]]:
    """The same story in a SQLite and in a Postgres database."""
    with ExitStack() as stack:
        made = []
        for number, engine in enumerate(both):
            sandbox = stack.enter_context(Sandbox(small()))
            url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
            config = tmp_path / f"{number}.toml"
            config.write_text(config_text(sandbox, url))
            made.append(Place(sandbox=sandbox, config=config))
            assert made[-1].etl("sync", *IN_TURN).code == 0
            sandbox.world.rename_project("search", "search-new")
            sandbox.world.update("statsig", "layers", "Checkout", description=None)
            assert made[-1].etl("sync", *IN_TURN).code == 0
        yield made


def test_both_databases_give_the_same_answers(places: list[Place]) -> None:
    for question in QUESTIONS:
        one, other = (_answer(place.etl(*question.split())) for place in places)
        assert one == other, question
        assert one, question


def test_a_number_beyond_postgres_is_a_clear_error(places: list[Place]) -> None:
    ended = places[1].etl("show", "9" * 20)
    assert ended.code in (1, 2)
    assert ended.err.count("\n") == 1


def _answer(ended: Ended) -> list[Any]:
    assert ended.code == 0, ended
    if not ended.out.startswith(("{", "[")):
        return ended.out.splitlines()
    return [_timeless(json.loads(line)) for line in ended.out.splitlines()]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(inner) for name, inner in value.items() if name not in TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value
