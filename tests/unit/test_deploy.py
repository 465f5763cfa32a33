"""The examples of docs/deploy name commands and options that exist."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # apprise brings it without types
from typer.main import get_command

from etl.cli import app
from etl.cron import cron_trigger
from tests.cli.command import etl

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
UNITS = sorted(FOLDER.glob("*.service")) + sorted(FOLDER.glob("*.timer"))
COMMAND = re.compile(r'(?:\.venv/bin/|"sh", "-c", ")etl ([^|>";\n]+)')


def commands() -> list[str]:
    """Every command line of etl in the examples."""
    found = []
    for path in sorted(FOLDER.iterdir()):
        found += [match.strip() for match in COMMAND.findall(path.read_text())]
    return found


def help_of(name: str) -> str:
    """What a command says of its options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        return etl(name, "--help").out


def test_the_examples_run_etl() -> None:
    assert len(commands()) >= 4


@pytest.mark.parametrize("line", commands())
def test_a_command_of_an_example_exists_with_its_options(line: str) -> None:
    names = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    words = line.split()
    place = next(at for at, word in enumerate(words) if word in names)
    shown = help_of(words[place])
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
            shown = help_of(words[place])
            found.append(words[place])
            options = [word for word in words[place:] if word.startswith("--")]
            assert all(option in shown for option in options), said
    assert sorted(found) == ["schedule", "worker", "worker"]


def test_a_daemon_is_always_started_again() -> None:
    for name in ("etl-schedule.service", "etl-worker@.service"):
        assert "Restart=always" in (FOLDER / name).read_text()


def test_try_again_later_is_no_failure_anywhere() -> None:
    assert "SuccessExitStatus=5 75" in (FOLDER / "etl-sync.service").read_text()
    cron = next(
        line for line in (FOLDER / "crontab").read_text().splitlines() if "etl sync" in line
    )
    cron = cron.replace("cd /srv/etl && .venv/bin/etl sync", "(exit CODE)")
    pod = re.findall(r'"sh", "-c", "(.*)"', (FOLDER / "cronjob.yaml").read_text())[0]
    pod = pod.replace("etl --log json sync", "(exit CODE)")
    for line, wanted in (
        (cron.partition("*    ")[2].rpartition("*    ")[2].strip(), {0: 0, 75: 0, 5: 1, 1: 1}),
        (pod, {0: 0, 75: 0, 5: 0, 1: 1, 3: 3}),
    ):
        assert "(exit CODE)" in line
        ended = {code: _shell(line.replace("CODE", str(code))) for code in wanted}
        assert ended == wanted, line


def _shell(line: str) -> int:
    return subprocess.run(["/bin/sh", "-c", line], check=False).returncode


def test_the_image_holds_what_its_lines_copy_and_its_user_may_write_to_its_data() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert copied == ["requirements.lock pyproject.toml README.md", "etl", "migrations"]
    assert all((FOLDER.parents[1] / name).exists() for names in copied for name in names.split())
    assert re.search(r"install -d -o etl .*/srv/etl/data[\s\S]*VOLUME /srv/etl/data", text)


def test_the_manifests_are_yaml_and_mount_what_they_name() -> None:
    for path in FOLDER.glob("*.yaml"):
        for found in yaml.safe_load_all(path.read_text()):
            pods = found["spec"].get("jobTemplate", {}).get("spec", found["spec"])
            pod = pods["template"]["spec"]
            named = {volume["name"] for volume in pod["volumes"]}
            inside = [*pod["containers"], *pod.get("initContainers", [])]
            assert {mount["name"] for one in inside for mount in one["volumeMounts"]} <= named
