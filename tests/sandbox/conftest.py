"""One HTTP client for all tests of the sandbox: making one costs more than most tests."""

from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client
