"""`etl schedule` as a process: runs what is due, tells how it is, ends on a signal."""

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

from etl.sandbox import Sandbox
from tests.cli.command import Place, free_port, line, page, place, variables
from tests.support.runs import small


def test_a_port_that_is_taken_is_exit_2_before_anything_runs(here: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = here.etl("schedule", "--health-port", str(port))
    assert (ended.code, f"cannot listen on 127.0.0.1 port {port}" in ended.err) == (2, True)
    assert "--health-port" in ended.err
    assert here.etl("runs", "--json").json == []
    assert here.etl("schedule", "--health-port", "65536").code == 2
    ended = here.etl("schedule", "--health-host", "nowhere.invalid")
    assert (ended.code, "cannot listen on nowhere.invalid port 9464" in ended.err) == (2, True)


def test_the_daemon_runs_what_is_due_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    with Sandbox(small()) as sandbox:
        found = place(tmp_path, sandbox)
        text = found.config.read_text()
        statsig = 'provider = "statsig"\n'
        assert statsig in text
        found.config.write_text(text.replace(statsig, f'{statsig}schedule = "0 0 * * *"\n'))
        command = line("--config", str(found.config), "--log", "text", "schedule")
        daemon = subprocess.Popen(
            [*command, "--health-port", str(port)],
            env=variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert daemon.stderr is not None
        told = next(text for text in daemon.stderr if "st: ok" in text)
        # the line comes a moment before the daemon has taken note of it
        asked = (page(port, "healthz") for _ in range(10_000))
        health = next(h for h in map(json.loads, asked) if h["sources"]["st"]["last_status"])
        metrics = page(port, "metrics")
        daemon.send_signal(signal.SIGHUP)
        reloaded = next(text for text in daemon.stderr if "configuration was read again" in text)
        for _ in range(2000):  # one comes while another one is taken note of
            daemon.send_signal(signal.SIGHUP)
        daemon.send_signal(signal.SIGTERM)
        out, _ = daemon.communicate(timeout=60)
    assert "st: ok" in told
    assert "3 sources" in reloaded
    assert (daemon.returncode, "stopped" in out) == (0, True)
    assert health["sources"]["st"]["last_status"] == "ok"
    assert re.search(r'etl_runs_total\{source="st",status="ok"\} 1.0', metrics)
