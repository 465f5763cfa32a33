"""A table in a terminal loses nothing, however narrow the terminal is."""

from collections.abc import Iterator, Sequence

import pytest

from etl.cli import terminal

COLUMNS = ("source", "observed_at", "used_percent#", "experiment_keys")
ROWS = [
    ("acme-launchdarkly-of-the-east", "2026-11-21 14:40:06", 120, "exp-a, exp-b, 実験"),
    ("acme", "", None, "[31m"),
]
PARTS = len("launchdarkly-") + len("2026-11-21") + len("percent") + len("experiment_")
ROOM = PARTS + 4 * terminal.BETWEEN + 1


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


@pytest.mark.parametrize("width", [20, 40, ROOM - 1, ROOM, 80, 100, 160])
def test_every_title_and_every_character_is_there_at_any_width(drawn, width: int) -> None:
    lines = drawn(width)
    shown = "".join("".join(lines).split())
    for name in COLUMNS:
        assert all(part in shown for part in name.rstrip("#").split("_"))
    for text in ("120", "exp-"):
        assert text in shown
    for row in ROWS:
        letters = "".join(str(value) for value in row if value)
        assert all(shown.count(one) >= letters.count(one) for one in letters if one.isalnum())
    assert all(len(line) <= width for line in lines)


def test_where_the_words_fit_the_columns_stand_side_by_side(drawn) -> None:
    lines = drawn(ROOM)
    assert [one for one in lines if "percent" in one and "time" not in one]
    assert any(line.split()[:2] == ["acme-", "2026-11-21"] for line in lines)


def test_where_they_do_not_each_row_is_a_block_of_lines(drawn) -> None:
    lines = [line.split() for line in drawn(ROOM - 8, [("acme-east", *ROWS[0][1:])])]
    assert lines == [
        [],
        ["source", "acme-east"],
        ["observed_at", "2026-11-21", "14:40:06"],
        ["used_percent", "120"],
        ["experiment_keys", "exp-a,", "exp-b,", "実験"],
    ]


def test_where_there_is_room_nothing_is_folded(drawn) -> None:
    assert len(drawn(160)) == 3 + len(ROWS) + 1


def test_a_column_without_anything_is_left_out(drawn) -> None:
    lines = drawn(80, [("acme", "", 1, None), ("other", None, 2, "")])
    assert "observed_at" not in "".join(lines)
    assert "used_percent" in lines[1]


def test_times_and_numbers_are_not_broken(drawn) -> None:
    for width in range(30, 120):
        shown = " ".join(drawn(width)).split()
        assert {"2026-11-21", "14:40:06", "120"} <= set(shown)
