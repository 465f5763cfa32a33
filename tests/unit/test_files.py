"""A file is whole or not there."""

import gzip
import os
from pathlib import Path

import pytest

from etl.archive.layout import page
from etl.errors import ConfigError, EtlError
from etl.files import FOR_ALL, FOR_OWNER, part_of, whole_file
from etl.json_text import unpacked


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


def test_a_link_that_was_laid_beforehand_is_not_followed(tmp_path: Path, monkeypatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda _: "foreseen")
    (tmp_path / ".out.csv.foreseen.part").symlink_to(victim)
    with pytest.raises(ConfigError, match="cannot be written"), whole_file(tmp_path / "out.csv"):
        pass
    assert victim.read_text() == "mine"


def test_the_name_of_the_part_cannot_be_foreseen(tmp_path: Path) -> None:
    assert len({part_of(tmp_path / "out.csv") for _ in range(100)}) == 100


@pytest.mark.parametrize(("mode", "found"), [(FOR_ALL, 0o644), (FOR_OWNER, 0o600)])
def test_the_file_has_its_mode_from_the_first_byte(tmp_path: Path, mode: int, found: int) -> None:
    before = os.umask(0o022)
    try:
        with whole_file(tmp_path / "out", mode=mode):
            (part,) = tmp_path.iterdir()
            assert part.stat().st_mode & 0o777 == found
    finally:
        os.umask(before)


def test_a_long_name_is_no_error(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("x" * 250)) as file:
        file.write(b"whole")


def packed(*members: bytes) -> bytes:
    return b"".join(gzip.compress(one) for one in members)


def test_what_is_small_enough_is_unpacked() -> None:
    assert unpacked(packed(b"one", b"two"), most=6) == b"onetwo"


@pytest.mark.parametrize(
    "data",
    [
        packed(b"four"),
        packed(b"on", b"tw"),
        packed(bytes(10**8)),
        packed(b"one")[:-1],
        b"\x1f\x8bnone",
        b"none",
    ],
    ids=["one byte", "two members", "a bomb", "cut", "not gzip inside", "not gzip"],
)
def test_what_is_too_large_or_damaged_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"unpacks to more|ends too early|is damaged"):
        unpacked(data, most=3)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "0" * 63, None, 3, "0" * 64 + "\n"])
def test_a_page_is_named_by_its_digest(tmp_path: Path, name: object) -> None:
    with pytest.raises(ValueError, match="not named by its sha256"):
        page(tmp_path, name)
