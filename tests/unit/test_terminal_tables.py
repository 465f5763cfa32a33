"""A table in a terminal loses nothing, however narrow the terminal is."""

from collections.abc import Iterator, Sequence

import pytest

from etl.cli import terminal

COLUMNS = ("source", "observed_at", "used_percent#", "experiment_keys")
ROWS = [
    ("acme-launchdarkly-of-the-east", "2026-11-21 14:40:06", 120, "exp-a, exp-b, 実験"),
    ("acme", "", None, "[31m"),
]
TITLES = 6 + 11 + 12 + 15 + 4 * terminal.BETWEEN


@pytest.fixture
def drawn() -> Iterator[object]:
    before = terminal.out.width

    def draw(width: int, rows: Sequence[Sequence[object]] = ROWS) -> list[str]:
        terminal.out.width = width
        with terminal.out.capture() as captured:
            terminal.out.print(terminal.table(COLUMNS, rows))
        return captured.get().splitlines()

    yield draw
    terminal.out.width = before


@pytest.mark.parametrize("width", [20, 40, TITLES - 1, TITLES, 80, 100, 160])
def test_every_title_and_every_character_is_there_at_any_width(drawn, width: int) -> None:
    lines = drawn(width)
    shown = "".join("".join(lines).split())
    for name in COLUMNS:
        assert name.rstrip("#") in shown
    for text in ("120", "exp-"):
        assert text in shown
    for row in ROWS:
        letters = "".join(str(value) for value in row if value)
        assert all(shown.count(one) >= letters.count(one) for one in letters if one.isalnum())
    assert all(len(line) <= width for line in lines)


def test_where_the_titles_fit_they_stand_side_by_side(drawn) -> None:
    assert all(name.rstrip("#") in drawn(TITLES)[1] for name in COLUMNS)


def test_where_they_do_not_each_row_is_a_block_of_lines(drawn) -> None:
    lines = [line.split() for line in drawn(TITLES - 1, [ROWS[0]])]
    assert lines == [
        [],
        ["source", "acme-launchdarkly-of-the-east"],
        ["observed_at", "2026-11-21", "14:40:06"],
        ["used_percent", "120"],
        ["experiment_keys", "exp-a,", "exp-b,", "実験"],
    ]


def test_where_there_is_room_nothing_is_folded(drawn) -> None:
    assert len(drawn(160)) == 3 + len(ROWS) + 1
