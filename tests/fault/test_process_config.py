"""Row 54 through the command line: what is wrong is said in one message, and nothing else happens.

Every single mistake: tests/unit/config.
"""

from pathlib import Path

import pytest

from etl.sandbox import Sandbox
from tests.cli.command import etl
from tests.support.runs import config_text, small

ST = '[sources.st]\nprovider = "statsig"\n'
MISTAKES = {
    "an unknown key": ("{good}\n[databse]\nurl = 1", "did you mean database?"),
    "a misspelt key": (ST + 'api_key = {{ env = "KEY_st" }}\nschedul = "5 * * * *"', "schedule?"),
    "a wrong type": (ST + 'api_key = {{ env = "KEY_st" }}\nschedule = 5', "expected text"),
    "a bad cron line": (ST + 'api_key = {{ env = "KEY_st" }}\nschedule = "61 * * * *"', "schedule"),
    "an unset secret": (ST + 'api_key = {{ env = "KEY_nowhere" }}', "environment variable"),
    "a missing secret file": (ST + 'api_key = {{ file = "{folder}/none" }}', "none"),
    "a secret file that all may read": (ST + 'api_key = {{ file = "{folder}/open" }}', "open"),
    "no TOML": ("[sources", "etl.toml"),
    "a file that is not there": (None, "etl.toml"),
}


@pytest.mark.row(54)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_is_one_clear_message(tmp_path: Path, mistake: str) -> None:
    text, named = MISTAKES[mistake]
    config = tmp_path / "etl.toml"
    (tmp_path / "open").write_text("console-1234567890")
    (tmp_path / "open").chmod(0o644)
    with Sandbox(small()) as sandbox:
        good = config_text(sandbox, f"sqlite:///{tmp_path / 'etl.db'}")
        if text is not None:
            config.write_text(text.format(good=good, folder=tmp_path))
        ended = etl("--config", str(config), "sync")
        assert (ended.code, ended.out, sandbox.requests) == (2, "", [])
    assert ended.err.startswith("etl: ")
    assert named in ended.err
    assert "Traceback" not in ended.err
    assert "1234567890" not in ended.err
    assert not (tmp_path / "etl.db").exists()
