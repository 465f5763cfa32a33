"""One database with a past, and the console over it, for all tests that only read."""

from collections.abc import Iterator

import pytest

from tests.conftest import Databases
from tests.support.console import served, tell_story, url_of


@pytest.fixture(scope="session")
def story(databases: Databases) -> Iterator[str]:
    """The URL of a SQLite file in which something happened."""
    with databases("sqlite") as engine:
        tell_story(engine)
        yield url_of(engine)


@pytest.fixture(scope="session")
def console(story: str) -> Iterator[str]:
    """The URL of the console."""
    with served(story) as url:
        yield url
