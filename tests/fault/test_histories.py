"""Rows 53 and 56 to 59: some of the random histories that `make histories` plays by thousands."""

import logging

import pytest

from tests.support.histories import some


@pytest.mark.row(53, 56, 57, 58, 59)
@pytest.mark.parametrize(
    "seeds", [range(1, 9), pytest.param(range(9, 200), marks=pytest.mark.slow)]
)
def test_no_random_history_breaks_a_promise(seeds: range) -> None:
    disabled = logging.root.manager.disable
    try:
        found = some(seeds)
    finally:
        logging.disable(disabled)
    assert (found.histories, found.broken) == (len(seeds), [])
