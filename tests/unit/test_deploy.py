"""The examples of docs/deploy name commands and options that exist."""

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from etl.cli import app
from etl.cron import cron_trigger

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
UNITS = sorted(FOLDER.glob("*.service")) + sorted(FOLDER.glob("*.timer"))
COMMAND = re.compile(r"\.venv/bin/etl ([^|>\n]+)")


def commands() -> list[str]:
    """Every command line of etl in the examples."""
    found = []
    for path in sorted(FOLDER.iterdir()):
        found += [match.strip() for match in COMMAND.findall(path.read_text())]
    return found


def test_the_examples_run_etl() -> None:
    assert len(commands()) >= 4


@pytest.mark.parametrize("line", commands())
def test_a_command_of_an_example_exists_with_its_options(line: str) -> None:
    names = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    words = line.split()
    place = next(at for at, word in enumerate(words) if word in names)
    shown = CliRunner().invoke(app, [words[place], "--help"], env={"COLUMNS": "200"}).output
    options = [word for word in words[place:] if word.startswith("--")]
    assert all(option in shown for option in options)


def test_the_cron_lines_are_cron_lines() -> None:
    lines = [
        line.split() for line in (FOLDER / "crontab").read_text().splitlines() if line[0] != "#"
    ]
    assert all(cron_trigger(" ".join(words[:5]), "UTC") for words in lines)


@pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
def test_a_unit_has_only_sections_and_assignments(path: Path) -> None:
    pattern = re.compile(r"\[(Unit|Service|Timer|Install)\]|[A-Z][A-Za-z]+=.*|#.*|")
    assert all(pattern.fullmatch(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "name", ["etl-sync.service", "etl-schedule.service", "etl-worker@.service"]
)
def test_a_service_may_write_to_its_data_only(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert "ProtectSystem=strict" in text
    assert re.findall(r"ReadWritePaths=(.*)", text) == ["/srv/etl/data"]


def test_the_containers_run_commands_with_options_that_exist() -> None:
    names = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    found = []
    for path in FOLDER.glob("*.yaml"):
        for said in re.findall(r"args: (\[.*\])", path.read_text()):
            words = json.loads(said)
            place = next(at for at, word in enumerate(words) if word in names)
            shown = CliRunner().invoke(app, [words[place], "--help"], env={"COLUMNS": "200"})
            found.append(words[place])
            options = [word for word in words[place:] if word.startswith("--")]
            assert all(option in shown.output for option in options), said
    assert sorted(found) == ["schedule", "sync", "worker", "worker"]


def test_a_daemon_is_always_started_again() -> None:
    for name in ("etl-schedule.service", "etl-worker@.service"):
        assert "Restart=always" in (FOLDER / name).read_text()


def test_try_again_later_is_no_failure_anywhere() -> None:
    assert "SuccessExitStatus=5 75" in (FOLDER / "etl-sync.service").read_text()
    assert "values: [75]" in (FOLDER / "cronjob.yaml").read_text()
    assert "-eq 75" in (FOLDER / "crontab").read_text()
