"""`run_streams.walks`: how the end of every single list is known, or why it is not."""

from typing import Any

from sqlalchemy import Engine, select

from etl.sandbox import Fault, Sandbox
from tests.support.database import count
from tests.support.internals.database import run_streams
from tests.support.internals.values import lists
from tests.support.runs import settings_for, small, sync, sync_all

OVERLAPPING: dict[str, Any] = {"ld": {"projects": {"page_size": 2}}}


def proofs(engine: Engine, run_id: int, stream: str) -> dict[str, dict[str, Any]]:
    """What the run says of each list of the stream, by the key of its project."""
    return {key: walk for walk in alike(engine, run_id, stream) for key in walk["of"]}


def alike(engine: Engine, run_id: int, stream: str) -> list[dict[str, Any]]:
    """The proofs of the stream as they are stored."""
    of = (run_streams.c.run_id == run_id, run_streams.c.stream == stream)
    with engine.connect() as connection:
        query = select(run_streams.c.walks).where(*of, run_streams.c.parent_id == "")
        found: list[dict[str, Any]] = connection.execute(query).scalar_one()
    return found


def test_every_list_of_a_stream_has_its_proof(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        for report in sync_all(engine, settings_for(sandbox)):
            for stream in report.streams:
                said = proofs(engine, report.run_id or 0, stream.stream)
                assert len(said) == stream.partitions
                assert sum(walk["came"] for walk in said.values()) == stream.received
                assert {walk["status"] for walk in said.values()} == {"ok"}
                assert all(walk["end"] for walk in said.values())


def test_a_list_walked_with_overlap_says_so(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        report = sync(engine, settings_for(sandbox, **OVERLAPPING), "ld")
    walk = proofs(engine, report.run_id or 0, "projects")[""]
    assert (walk["overlap"], walk["expected"], walk["came"]) == (True, 5, 5)
    assert (walk["walks"], walk["pages"] > 2, "gaps" in walk) == (1, True, False)


def test_the_one_list_that_failed_tells_why_and_the_others_stand(engine: Engine) -> None:
    fault = Fault("launchdarkly */projects/*/layers", "status", after=2, times=1, arg=403)
    with Sandbox(small(), faults=[fault]) as sandbox:
        settings = settings_for(sandbox, ld={"limits": {"concurrency": 1}})
        report = sync(engine, settings, "ld")
    said = proofs(engine, report.run_id or 0, "layers")
    reasons = [walk["reason"] for walk in said.values() if walk["status"] != "ok"]
    assert (len(said), len(reasons)) == (5, 1)
    assert "403" in reasons[0]
    shown = lists(alike(engine, report.run_id or 0, "layers"))
    assert [one["of"] for one in shown] == sorted(said)
    assert {one["ended"] for one in shown if one["status"] == "ok"} == {"end mark reached"}
    assert [one["ended"] for one in shown if one["status"] != "ok"] == reasons


def test_a_run_that_read_no_list_shows_none() -> None:
    assert lists(None) == []


def test_lists_with_the_same_proof_stand_together(engine: Engine) -> None:
    """A run of thousands of projects may not write a row for each of them."""
    with Sandbox(small()) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
    groups = alike(engine, report.run_id or 0, "layers")
    assert (count(engine, "run_streams"), [len(walk["of"]) for walk in groups]) == (3, [5])
