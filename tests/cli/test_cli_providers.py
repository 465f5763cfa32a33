"""Providers of other packages, found by their entry point; those that are wrong are refused."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.sandbox import KEYS, Sandbox
from tests.cli.command import Ended, process, variables
from tests.support.runs import small

FLAGS = """
from dataclasses import replace
from etl.providers.layers_com import PROVIDER as layers

PROVIDER = replace(layers, name="acme-flags")
"""
ANOTHER_COLUMN = """
def to_record(item, partition):
    made = projects.to_record(item, partition)
    return replace(made, columns={**made.columns, "colour": "red"})

(projects,) = layers.streams
PROVIDER = replace(PROVIDER, streams=(replace(projects, to_record=to_record),))
"""
NO_KEY = """
def to_record(item, partition):
    return replace(projects.to_record(item, partition), key=item["slug"])

(projects,) = layers.streams
PROVIDER = replace(PROVIDER, streams=(replace(projects, to_record=to_record),))
"""
NO_HOST = 'PROVIDER = replace(PROVIDER, base_url="api.example.org")'
NO_FILTER = (
    "PROVIDER = replace(PROVIDER, "
    "streams=[replace(layers.streams[0], filter_options=frozenset({'owner'}))])"
)
TWICE = "PROVIDER = replace(PROVIDER, streams=layers.streams * 2)"
ORPHAN = 'PROVIDER = replace(PROVIDER, streams=[replace(layers.streams[0], parent="layers")])'

Run = Callable[..., Ended]


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., Run]:
    """A function that installs a package with a provider, and gives one that runs commands."""

    def install(code: str, point: str = "acme-flags = acme_flags:PROVIDER") -> Run:
        packages = tmp_path / "packages"
        about = packages / "acme_flags-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-flags\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[etl.providers]\n{point}\n")
        (packages / "acme_flags.py").write_text(code)
        path = f"{variables()['PYTHONPATH']}:{packages}"

        def run(*words: str) -> Ended:
            keys = {"PYTHONPATH": path, "ACME_FLAGS_API_KEY": KEYS["layers"]}
            return process(*words, at=tmp_path, keys=keys)

        return run

    return install


def pointed_at(sandbox: Sandbox, config: Path) -> None:
    """The one source of the file reads the sandbox."""
    text = config.read_text()
    assert text.count("\napi_key = ") == 1
    config.write_text(text.replace("\napi_key = ", f'\nbase_url = "{sandbox.url}"\napi_key = '))


def test_a_provider_of_another_package_is_configured_and_synced_as_ours(
    installed: Callable[..., Run], tmp_path: Path
) -> None:
    run = installed(FLAGS)
    with Sandbox(small()) as sandbox:
        assert run("init", "--provider", "acme-flags").code == 0
        config = tmp_path / "config" / "etl.toml"
        assert list(tomllib.loads(config.read_text())["sources"]) == ["acme-acme-flags"]
        pointed_at(sandbox, config)
        assert run("check").code == 0
        (report,) = run("sync", "--json").json["runs"]
        assert (report["provider"], report["status"]) == ("acme-flags", "ok")
        assert report["streams"][0]["created"] == len(sandbox.world.live("layers", "projects"))
    assert run("audit").code == 0


def test_a_column_for_which_there_is_no_place_is_refused_and_nothing_is_stored(
    installed: Callable[..., Run], tmp_path: Path
) -> None:
    run = installed(FLAGS + ANOTHER_COLUMN)
    with Sandbox(small()) as sandbox:
        assert run("init", "--provider", "acme-flags").code == 0
        pointed_at(sandbox, tmp_path / "config" / "etl.toml")
        ended = run("sync")
    assert ended.code == 2
    assert "acme-flags: its projects have colour, for which the table projects has no" in ended.out
    assert run("export", "projects", "--out", "-", "--format", "jsonl").out == ""


def test_a_fault_of_such_a_provider_is_told_with_its_line(
    installed: Callable[..., Run], tmp_path: Path
) -> None:
    run = installed(FLAGS + NO_KEY)
    with Sandbox(small()) as sandbox:
        assert run("init", "--provider", "acme-flags").code == 0
        pointed_at(sandbox, tmp_path / "config" / "etl.toml")
        ended = run("sync")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert (
        "the provider acme-flags of acme-flags failed: KeyError: 'slug' (acme_flags.py:"
        in ended.err
    )


@pytest.mark.parametrize(
    ("code", "point", "told"),
    [
        ("import nothing_at_all", "acme-flags = acme_flags:PROVIDER", "No module named"),
        ("", "acme-flags = acme_flags:PROVIDER", "no attribute 'PROVIDER'"),
        (FLAGS, "acme = acme_flags:PROVIDER", "is not a Provider of this name"),
        (FLAGS, "acme-flags = acme_flags:layers.streams", "is not a Provider of this name"),
        (FLAGS, "layers = acme_flags:layers", "there is another one of this name"),
        (FLAGS + TWICE, "acme-flags = acme_flags:PROVIDER", "it has this stream twice"),
        (FLAGS + ORPHAN, "acme-flags = acme_flags:PROVIDER", "its parent 'layers' must come"),
        (
            FLAGS + NO_HOST,
            "acme-flags = acme_flags:PROVIDER",
            "'api.example.org' is no https://host",
        ),
        (FLAGS + NO_FILTER, "acme-flags = acme_flags:PROVIDER", "no option owner to filter by"),
    ],
)
def test_a_package_whose_provider_cannot_be_used_is_named(
    installed: Callable[..., Run], code: str, point: str, told: str
) -> None:
    ended = installed(code, point)("status")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert f"the provider {point.partition(' ')[0]} of acme-flags (" in ended.err
    assert told in ended.err
