"""Which tests execute which lines of the modules, as coverage tells it, and how long they take.

Kept by the content of each test file: as long as the modules are the same, only files that are new
or changed are run again.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import coverage

QUICK = ("unit", "property", "contract", "integration")  # folders of tests
SLOW = ("fault", "cli", "web", "process")
LEFT = "tests/web/test_web_browser.py"  # drives a browser; others ask the same pages


@dataclass(slots=True, kw_only=True)
class Covering:
    """seconds: test -> what it takes. lines: module's file -> line -> the tests that execute it.

    ways: module's file -> test -> the lines that it executes.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    ways: dict[str, dict[str, frozenset[int]]] = field(default_factory=dict)

    def of(self, file: str, lines: Iterable[int]) -> set[str]:
        """The tests that execute one of the lines."""
        known = self.lines.get(file, {})
        return {test for line in lines for test in known.get(line, ())}


def read(root: Path, kept: Path, modules: Sequence[str], folders: Sequence[str]) -> Covering:
    """Of the tests in these folders what is kept, and what is new of all others."""
    kept.mkdir(exist_ok=True)
    code = _digest(*(root / one for one in modules))
    files = {path: kept / f"{_digest(path)}-{code}.json" for path in _test_files(root, folders)}
    missing = [path for path, known in files.items() if not known.exists()]
    if missing:
        print(f"coverage of {len(missing)} test files ...", flush=True)
        for path, found in _measured(root, missing, modules).items():
            files[path].write_text(json.dumps(found))
    whole = Covering()
    for known in filter(Path.exists, files.values()):
        for test, (seconds, lines) in json.loads(known.read_text()).items():
            whole.seconds[test] = seconds
            for file, numbers in lines.items():
                whole.ways.setdefault(file, {})[test] = frozenset(numbers)
                for number in numbers:
                    whole.lines.setdefault(file, {}).setdefault(number, set()).add(test)
    return whole


def tests(root: Path) -> set[str]:
    """All there are."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests"]
    told = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return {line for line in told.splitlines() if "::" in line}


def _test_files(root: Path, folders: Sequence[str]) -> list[Path]:
    found = (path for name in folders for path in (root / "tests" / name).rglob("test_*.py"))
    return sorted(path for path in found if path != root / LEFT)


def _digest(*paths: Path) -> str:
    whole = blake2b(digest_size=8)
    for path in paths:
        whole.update(path.read_bytes())
    return whole.hexdigest()


Found = dict[str, tuple[float, dict[str, list[int]]]]


def _measured(root: Path, paths: Sequence[Path], modules: Sequence[str]) -> Mapping[Path, Found]:
    """Runs these files; a test is left out that fails, is skipped or needs PostgreSQL."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rc").write_text("[run]\ninclude =\n" + "".join(f"  {one}\n" for one in modules))
        data, times = folder / "coverage", folder / "times"
        environ = {**os.environ, "COVERAGE_FILE": str(data), "MUTANT_TIMES": str(times)}
        options = ["-n", "2", "--dist", "loadfile", "-p", "tests.mutants.times", "--cov"]
        options += [f"--cov-config={folder / 'rc'}", "--cov-context=test", "--cov-report="]
        names = [str(path.relative_to(root)) for path in paths]
        command = [sys.executable, "-m", "pytest", "-q", "-k", "not postgres", *options, *names]
        subprocess.run(command, cwd=root, env=environ, check=False)
        return collected(root, paths, data, times)


def collected(root: Path, paths: Sequence[Path], data: Path, times: Path) -> Mapping[Path, Found]:
    """Test file -> test -> (seconds, module's file -> lines)."""
    found: dict[Path, Found] = {path: {} for path in paths}
    for test, took in json.loads(times.read_text()).items():
        found.setdefault(root / test.partition("::")[0], {})[test] = (took, {})
    known = coverage.CoverageData(str(data))
    known.read()
    for measured in known.measured_files():
        file = str(Path(measured).relative_to(root))
        for line, contexts in known.contexts_by_lineno(measured).items():
            for test in {context.partition("|")[0] for context in contexts} - {""}:
                path = root / test.partition("::")[0]
                if test in found.get(path, {}):
                    found[path][test][1].setdefault(file, []).append(line)
    return found
