"""The examples of docs/deploy name commands and options that exist."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # apprise brings it without types
from typer.main import get_command

from etl.cli import app
from etl.config.cron import cron_trigger
from etl.model import CompleteReads, RunReport
from etl.schedule.health import Metrics
from tests.cli.command import etl
from tests.support.locks import read_locks

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
UNITS = sorted(FOLDER.glob("*.service")) + sorted(FOLDER.glob("*.timer"))
COMMAND = re.compile(r'(?:\.venv/bin/|"sh", "-c", ")etl ([^|>";&)\n]+)')


def commands() -> list[str]:
    """Every command line of etl in the examples."""
    found = []
    for path in sorted(FOLDER.iterdir()):
        found += [match.strip() for match in COMMAND.findall(path.read_text())]
    return found


def help_of(*names: str) -> str:
    """What a command says of its options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        return etl(*names, "--help").out


def test_the_examples_run_etl() -> None:
    assert len(commands()) >= 4


@pytest.mark.parametrize("line", commands())
def test_a_command_of_an_example_exists_with_its_options(line: str) -> None:
    names = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    words = line.split()
    place = next(at for at, word in enumerate(words) if word in names)
    shown = help_of(*[word for word in words[place:] if word.isalpha()][:2])
    options = [word for word in words[place:] if word.startswith("--")]
    assert all(option in shown for option in options)


def test_the_cron_lines_are_cron_lines() -> None:
    lines = [
        line.split()
        for line in (FOLDER / "crontab").read_text().splitlines()
        if line and (line[0].isdigit() or line[0] == "*")
    ]
    assert len(lines) >= 2
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
    pod = re.findall(r'"sh", "-c", "(.*)"', (FOLDER / "cronjob.yaml").read_text())[0]
    pod = pod.replace("etl --log json sync", "(exit CODE)")
    wanted = {0: 0, 75: 0, 5: 0, 1: 1, 3: 3}
    assert "(exit CODE)" in pod
    assert {code: _shell(pod.replace("CODE", str(code))) for code in wanted} == wanted


def _shell(line: str) -> int:
    return subprocess.run(["/bin/sh", "-c", line], check=False).returncode


def test_the_image_holds_what_its_lines_copy_and_its_user_may_write_to_its_data() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    lock = re.findall(r"^ARG LOCK=(.*)$", text, re.MULTILINE)[0]
    names = " ".join(copied).replace("${LOCK}", lock).split()
    assert names == [
        lock,
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "etl",
        "migrations",
        "docs/schema.md",
    ]
    assert all((FOLDER.parents[1] / name).exists() for name in names)
    sent = (FOLDER.parents[1] / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    assert all(f"!{name}" in sent for name in names)
    pins = {pin.name for one in read_locks() if one.name == lock for pin in one.pins}
    assert {"apprise", "procrastinate", "pyarrow"} <= pins
    assert re.search(r"install -d -o etl .*/srv/etl/data[\s\S]*VOLUME /srv/etl/data", text)


def pods() -> list[tuple[str, dict[str, Any]]]:
    """The pods of the manifests, each with the name of what makes it."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for made in yaml.safe_load_all(path.read_text()):
            holder = made["spec"].get("jobTemplate", {}).get("spec", made["spec"])
            found.append((made["metadata"]["name"], holder["template"]["spec"]))
    return found


def test_the_manifests_mount_what_they_name() -> None:
    assert sorted(name for name, _ in pods()) == ["etl-schedule", "etl-sync", "etl-worker"]
    for _, pod in pods():
        named = {volume["name"] for volume in pod["volumes"]}
        inside = [*pod["containers"], *pod.get("initContainers", [])]
        assert {mount["name"] for one in inside for mount in one["volumeMounts"]} <= named


def test_pods_may_do_no_more_than_they_must() -> None:
    for name, pod in pods():
        assert pod["automountServiceAccountToken"] is False, name
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in [*pod["containers"], *pod.get("initContainers", [])]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert set(one["resources"]["limits"]) == {"cpu", "memory"}
            assert "/tmp" in {mount["mountPath"] for mount in one["volumeMounts"]}  # noqa: S108


def test_what_a_cluster_probes_it_can_reach() -> None:
    for name, pod in pods():
        for one in pod["containers"]:
            if "livenessProbe" in one:
                at = one["args"].index("--health-host")
                assert one["args"][at + 1] == "0.0.0.0", name  # noqa: S104
                port = one["args"][one["args"].index("--health-port") + 1]
                assert [str(open_["containerPort"]) for open_ in one["ports"]] == [port]


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    metrics = Metrics(
        sources=lambda: ["st"],
        landed=lambda _: CompleteReads(
            streams={("st", "layers"): datetime(2026, 1, 1, tzinfo=UTC)}
        ),
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    report = RunReport(
        run_id=1,
        source="st",
        provider="statsig",
        kind="sync",
        status="ok",
        exit_code=0,
        started_at=moment,
        finished_at=moment,
    )
    metrics.note(report)
    known = set(re.findall(r"^(\w+)(?:\{| )", metrics.text().decode(), re.MULTILINE))
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    asked = {name for rule in group["rules"] for name in re.findall(r"etl_\w+", rule["expr"])}
    assert asked
    assert asked <= known
    assert all(rule["annotations"]["summary"] for rule in group["rules"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
def test_systemd_takes_the_unit(path: Path, tmp_path: Path) -> None:
    program = tmp_path / ".venv" / "bin" / "etl"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        text = unit.read_text().replace("/srv/etl", str(tmp_path))
        (tmp_path / unit.name.replace("@", "@1")).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", path.name.replace("@", "@1")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
