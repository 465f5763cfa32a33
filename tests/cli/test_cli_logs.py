"""Logs: one line for each thing that happened, with its fields, at a level that means something."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from etl.sandbox import Fault, Sandbox
from tests.cli.command import Ended, Place, place
from tests.support.runs import small

FORGED = "2026-01-01T00:00:00Z [info     ] all is well"
MESSAGE = f"busy\n{FORGED}\r\x1b[2K\x1b[31m\x9b1m\u202e\u2028{FORGED}\x00\x7f\u2029\x85{FORGED}"
COMMANDS = set("\r\x1b\x9b\u202e\u2028\u2029\x00\x7f\x85")
ONCE = {"limits": {"attempts": 1, "delete_percent": 10, "delete_count": 1}}


@contextmanager
def answering(status: int, message: str) -> Iterator[str]:
    """A vendor that answers every request with this error."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"message": message, "code": message, "error": message}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Not on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def documents(ended: Ended) -> list[dict[str, object]]:
    """The lines of a log for machines."""
    return [json.loads(line) for line in ended.err.split("\n") if line.startswith("{")]


FORMS = ("off", "text", "json")
ASKING = (("sync", "ly"), ("check", "ly"), ("sync", "--quiet", "ly"))


@pytest.mark.parametrize(
    ("command", "form", "status"),  # every two of them together
    [
        (ASKING[(place + number) % len(ASKING)], form, status)
        for number, status in enumerate([400, 401, 404, 500, 503])
        for place, form in enumerate(FORMS)
    ],
)
def test_what_a_vendor_says_begins_no_line_and_commands_no_terminal(
    migrated: Place, command: tuple[str, ...], form: str, status: int
) -> None:
    with answering(status, MESSAGE) as url:
        migrated.config.write_text(migrated.config.read_text().replace(migrated.sandbox.url, url))
        ended = migrated.etl("--log", form, *command)
    for said in (ended.out, ended.err):
        assert not any(line.lstrip().startswith(FORGED) for line in said.split("\n"))
        assert not COMMANDS & set(said)
    assert ended.code in (1, 4, 75)


def test_a_json_line_of_a_run_has_fields(tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        here = place(tmp_path, sandbox, ly=ONCE)
        found = documents(here.etl("--log", "json", "sync", "ly"))
        (ran,) = [one for one in found if one["event"] == "run ended"]
        expected = {"source": "ly", "status": "ok", "exit_code": 0, "level": "info", "run": 1}
        assert {name: ran[name] for name in expected} == expected
        assert ran["changes"]
        for line in found:
            assert line["source"] == "ly", line


@pytest.mark.parametrize(
    ("fault", "status", "level"),
    [
        (Fault("layers /v1/projects[?]*", "status", times=None, arg=400), "failed", "error"),
        (Fault("layers *", "status", times=None, arg=401), "denied", "error"),
        (Fault("layers *", "status", times=None, arg=503), "parked", "warning"),
    ],
)
def test_the_level_of_a_run_is_that_of_its_end(
    tmp_path: Path, fault: Fault, status: str, level: str
) -> None:
    with Sandbox(small(), faults=[fault]) as sandbox:
        here = place(tmp_path, sandbox, ly=ONCE)
        found = documents(here.etl("--log", "json", "sync", "ly"))
        (ran,) = [one for one in found if one["event"] == "run ended"]
        assert (ran["status"], ran["level"]) == (status, level)
        text = here.etl("--log", "text", "sync", "ly").err
        assert f"[{level}" in next(line for line in text.split("\n") if f"ly: {status}" in line)


def test_withheld_deletions_are_a_warning(tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        here = place(tmp_path, sandbox, ly=ONCE)
        here.etl("sync", "ly")
        sandbox.world.evolve(changed=0, deleted=40, renamed=0, created=0, restored=0)
        found = documents(here.etl("--log", "json", "sync", "ly"))
        (ran,) = [one for one in found if one["event"] == "run ended"]
        assert (ran["status"], ran["exit_code"], ran["level"]) == ("held", 3, "warning")


def test_without_a_channel_open_alerts_are_recorded_and_listed(here: Place) -> None:
    assert here.etl("db", "upgrade").code == 0
    assert "nothing is wrong" in here.etl("notices").out
    assert here.etl("sync", "ly", ly="another").code == 4
    failed = here.etl("notices", "--json").json
    assert [(one["cause"]["source"], one["cause"]["kind"]) for one in failed] == [("ly", "failure")]
    here.etl("sync", "ly")
    assert here.etl("notices", "--json").json == []
