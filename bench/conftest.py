"""The databases of the tests, for benchmarks that pytest runs."""

from tests.conftest import (
    databases,
    postgres_pool,
    postgres_server,
    postgres_template,
    pytest_configure,
    pytest_runtest_teardown,
    sqlite_template,
)

__all__ = [
    "databases",
    "postgres_pool",
    "postgres_server",
    "postgres_template",
    "pytest_configure",
    "pytest_runtest_teardown",
    "sqlite_template",
]
