"""A pytest plugin: how long each test took, as JSON in the file that MUTANT_TIMES names.

Only tests that passed are in it: another one would kill every mutant.
"""

import json
import os
from pathlib import Path

import pytest

_seconds: dict[str, float] = {}
_unfit: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up set-up, call and tear-down."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if not report.passed:
        _unfit.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Workers of xdist tell their times to the first process, which alone writes."""
    if not hasattr(session.config, "workerinput"):
        passed = {test: took for test, took in _seconds.items() if test not in _unfit}
        Path(os.environ["MUTANT_TIMES"]).write_text(json.dumps(passed, indent=0))
