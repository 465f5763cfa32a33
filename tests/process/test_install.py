"""docs/deploy/install.sh and the crontab as they stand, on a machine with nothing but a shell."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl.sandbox import Fault, Sandbox
from tests.cli.command import Ended
from tests.support.runs import config_text, environ, small

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "deploy"
BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LOGNAME": "etl"}


def shell(command: list[str], environment: dict[str, str], *, at: Path) -> Ended:
    """A command with this environment and nothing else of ours."""
    words = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command]
    done = subprocess.run(words, cwd=at, capture_output=True, text=True, check=False)
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A folder in the place of /."""

    root: Path

    def cron(self, command: str) -> Ended:
        """The line of the crontab that has this in it, as cron runs it."""
        text = (FOLDER / "crontab").read_text()
        variables = dict(re.findall(r"^([A-Z]+)=(.*)$", text, re.MULTILINE))
        (line,) = [line for line in text.splitlines() if command in line and line[0] != "#"]
        words = line.split(maxsplit=5)[5]
        for place in ("/srv/etl", "/etc/etl"):
            words = words.replace(place, f"{self.root}{place}")
        return shell([variables["SHELL"], "-c", words], BARE | variables, at=self.root)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """etl was installed twice: the second time is an upgrade."""
    root, checkout = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("checkout")
    for name in ("etl", "migrations", "docs/deploy"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    copied = (
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "requirements.lock",
        "docs/schema.md",
    )
    for name in copied:
        shutil.copyfile(ROOT / name, checkout / name)
    place = root / "srv" / "etl" / ".venv"
    venv.create(place, with_pip=False, symlinks=True)
    # so that nothing has to be fetched, nor pip be unpacked
    (library,) = place.glob("lib/python*/site-packages")
    (library / "locked.pth").write_text(sysconfig.get_path("purelib"))
    for _ in range(2):
        command = ["/bin/sh", str(checkout / "docs" / "deploy" / "install.sh")]
        extra = {"ROOT": str(root), "PYTHON": sys.executable, "PIP_NO_INDEX": "1"}
        done = shell(command, BARE | extra, at=root)
        assert done.code == 0, done
        assert f"etl is in {root}/srv/etl" in done.out
        (root / "srv" / "etl" / "data" / "kept").touch()
    return Machine(root=root)


@pytest.fixture
def sandbox(machine: Machine) -> Iterator[Sandbox]:
    """Its sources are configured on the machine, the keys are in the file of keys."""
    with Sandbox(small()) as sandbox:
        folder = machine.root / "srv" / "etl"
        text = config_text(sandbox, "sqlite:///data/etl.db")
        (folder / "config" / "etl.toml").write_text(text)
        keys = "".join(f"{name}={value}\n" for name, value in environ().items())
        (machine.root / "etc" / "etl" / "keys.env").write_text(keys)
        yield sandbox


def test_the_installed_etl_is_a_wheel_with_its_migrations(machine: Machine) -> None:
    program = machine.root / "srv" / "etl" / ".venv" / "bin" / "etl"
    code = "import etl; print(etl.__file__)"
    where = shell([str(program.with_name("python")), "-c", code], BARE, at=machine.root)
    assert where.out.startswith(str(machine.root))
    assert re.fullmatch(
        r"etl \d+\.\d+\.\d+\n", shell([str(program), "--version"], BARE, at=machine.root).out
    )
    assert (machine.root / "srv" / "etl" / "config" / "etl.toml").exists()
    assert (machine.root / "srv" / "etl" / "data" / "kept").exists()
    assert (machine.root / "etc" / "etl" / "keys.env").stat().st_mode & 0o777 == 0o640
    assert (machine.root / "srv" / "etl" / "data").stat().st_mode & 0o777 == 0o700


def test_cron_mails_nothing_when_all_is_well(machine: Machine, sandbox: Sandbox) -> None:
    for command in ("etl sync", "etl status", "etl prune"):
        ended = machine.cron(command)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), command
    assert (machine.root / "srv" / "etl" / "data" / "etl.db").exists()


def test_cron_mails_what_people_should_know(machine: Machine, sandbox: Sandbox) -> None:
    machine.cron("etl sync")
    sandbox.add_fault(Fault("statsig", "status", times=None, arg=503))
    later = machine.cron("etl sync")
    assert (later.code, later.out, later.err) == (75, "", "")
    sandbox.clear_faults()
    sandbox.add_fault(Fault("statsig", "status", times=None, arg=401))
    denied = machine.cron("etl sync")
    assert (denied.code, "st: denied" in denied.out) == (4, True)


def test_cron_mails_that_the_keys_are_missing(machine: Machine, sandbox: Sandbox) -> None:
    (machine.root / "etc" / "etl" / "keys.env").unlink()
    ended = machine.cron("etl sync")
    assert (ended.code != 0, "keys.env" in ended.err) == (True, True)
