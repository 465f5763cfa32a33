"""Distributions hold what git tracks and nothing else, and say what they are."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import etl

ROOT = Path(__file__).parents[2]
KEY = "api-" + "0123456789" * 2
UNTRACKED = (
    "prod.key",
    "etl/prod.key",
    "etl/excluded.key",
    "migrations/versions/prod.key",
    "docs/deploy/keys.env",
    "tests/prod.key",
)


def git(*words: str, at: Path) -> str:
    command = ["git", *words]
    return subprocess.run(command, cwd=at, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is, in a repository of its own in which keys lie about."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", "-z", at=ROOT).split(
        "\0"
    ):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git("init", "-q", at=folder)
    git("add", "--all", at=folder)
    (folder / ".git" / "info" / "exclude").write_text("excluded.key\n")
    for name in UNTRACKED:
        (folder / name).write_text(KEY)
    return folder


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    return folder


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a distribution by name."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist())
        return
    with tarfile.open(archive) as sdist:
        for member in sdist.getmembers():
            file = sdist.extractfile(member)
            if file is not None:
                yield member.name.partition("/")[2], file.read()


def test_the_sdist_holds_what_git_tracks(checkout: Path, built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    names = {name for name, _ in members(sdist)}
    tracked = set(git("ls-files", "-z", at=checkout).split("\0")) - {""}
    assert names - {"PKG-INFO"} == tracked
    assert not any(KEY.encode() in content for _, content in members(sdist))


def test_the_wheel_holds_the_package_and_its_migrations(checkout: Path, built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name, _ in members(wheel) if ".dist-info/" not in name}
    tracked = set(git("ls-files", "-z", "etl", at=checkout).split("\0")) - {""}
    migrations = set(git("ls-files", "-z", "migrations", at=checkout).split("\0")) - {""}
    moved = {f"etl/{name}" for name in migrations} | {"etl/db/schema.md"}
    assert names == tracked | moved
    assert not any(KEY.encode() in content for _, content in members(wheel))


def test_a_wheel_of_the_sdist_is_the_same(built: Path, tmp_path: Path) -> None:
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=unpacked, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    assert {name for name, _ in members(again)} == {name for name, _ in members(wheel)}


def test_it_says_what_it_is(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    found = dict(members(wheel))
    (about,) = [content for name, content in found.items() if name.endswith("/METADATA")]
    metadata = Parser().parsestr(about.decode())
    assert (metadata["Name"], metadata["Version"]) == ("flag-etl", etl.__version__)
    assert metadata.get_all("Provides-Extra") == ["export", "notices", "worker"]
    assert metadata["Keywords"]
    assert "Programming Language :: Python :: 3.11" in (metadata.get_all("Classifier") or [])
    assert metadata.get_payload()
    (scripts,) = [content for name, content in found.items() if "entry_points" in name]
    assert scripts.decode().split() == ["[console_scripts]", "etl", "=", "etl.__main__:main"]


def test_no_line_fetches_a_package_of_that_name_from_an_index() -> None:
    for name in git("ls-files", "-z", at=ROOT).split("\0"):
        if name.endswith((".py", ".md", ".toml", ".yaml", ".sh", "Dockerfile")) and (
            "tests/" not in name
        ):
            text = (ROOT / name).read_text()
            assert "install 'etl" not in text, name
            assert "install 'flag-etl" not in text, name
            assert "install flag-etl" not in text, name
            assert "install etl" not in text, name
