"""What tests import of etl: code that moves changes its own tests and tests/support, no others."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
OF_MODULES = {"unit", "property", "sandbox", "support", "mutants", "clients"}
PUBLIC = ("etl.__main__.", "etl.__version__.", "etl.cli.", "etl.errors.", "etl.sandbox.")


def imported(source: str) -> Iterator[str]:
    """The modules, and what is taken from the package itself."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (one.name for one in names)
            case ast.ImportFrom(module="etl", names=names):
                yield from (f"etl.{one.name}" for one in names)
            case ast.ImportFrom(module=str(module)):
                yield module


def test_tests_of_behaviour_import_internals_through_support() -> None:
    behaviour = [
        path for path in TESTS.rglob("*.py") if path.relative_to(TESTS).parts[0] not in OF_MODULES
    ]
    found = {
        f"{path.relative_to(TESTS)}: {name}"
        for path in behaviour
        for name in imported(path.read_text())
        if name.startswith("etl.") and not f"{name}.".startswith(PUBLIC)
    }
    assert (found, len(behaviour) > 50) == (set(), True)
