"""A file is whole or not there."""

from pathlib import Path

import pytest

from etl.errors import ConfigError, EtlError
from etl.files import whole_file


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    with whole_file(place) as file:
        file.write(b"half")
        assert not place.exists()
    assert place.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [place]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "out.csv") as file:
        file.write(b"half" * (1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(EtlError, match="No space left"), whole_file(tmp_path / "out.csv"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    place.write_text("mine")
    with pytest.raises(ConfigError, match="--force"), whole_file(place) as file:
        file.write(b"new")
    assert place.read_text() == "mine"


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    with pytest.raises(ConfigError, match="--force"), whole_file(place):
        place.write_text("theirs")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["theirs"]


def test_by_force_it_is_replaced_by_the_whole_one_only(tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    place.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(place, force=True):
        raise ZeroDivisionError
    assert place.read_text() == "old"
    with whole_file(place, force=True) as file:
        file.write(b"new")
    assert place.read_text() == "new"


def test_through_a_link_the_file_behind_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("place", ["missing/out.csv", ".", "/dev/null"])
def test_a_place_that_cannot_be_a_file_is_a_clear_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="written"), whole_file(tmp_path / place, force=True):
        pass
