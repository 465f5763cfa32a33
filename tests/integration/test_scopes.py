"""Another key or filter is another scope: what it does not show was not deleted."""

from typing import Any

from sqlalchemy import Engine

from etl.sandbox import KEYS, Fault, Sandbox, World
from tests.support.database import count, counts, rows
from tests.support.runs import of, settings_for, small, sync

WHOAMI = "launchdarkly /api/v2/caller-identity"
SILENT = Fault(WHOAMI, "status", times=None, arg=404)
NARROW = {"ld": KEYS["launchdarkly-narrow"]}


def tombstones(engine: Engine) -> list[tuple[str, str]]:
    """(stream, key) of every deletion in the feed."""
    return [(r["stream"], r["key"]) for r in rows(engine, "changes") if r["operation"] == "deleted"]


def layers(world: World) -> list[dict[str, Any]]:
    return world.records("layers", "projects")


def test_a_key_of_another_account_deletes_nothing(engine: Engine) -> None:
    with Sandbox(small(), faults=[SILENT]) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before = counts(engine)
        report = sync(engine, settings_for(sandbox, keys=NARROW), "ld")
        assert (report.status, counts(engine)) == ("ok", before)
        assert any("are outside of what another key or filter shows" in n for n in report.notes)


def test_what_another_key_does_not_show_stays_so_in_later_runs(engine: Engine) -> None:
    with Sandbox(small(), faults=[SILENT]) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        reports = [sync(engine, settings_for(sandbox, keys=NARROW), "ld") for _ in range(3)]
    report = reports[-1]
    assert (report.status, report.changed, tombstones(engine)) == ("ok", 0, [])


def test_in_the_new_scope_deletions_are_seen_again(engine: Engine) -> None:
    with Sandbox(small(), faults=[SILENT]) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        narrow = settings_for(sandbox, keys=NARROW)
        sync(engine, narrow, "ld")
        project = sandbox.world.records("launchdarkly", "projects")[0]["key"]
        layer = sandbox.world.records("launchdarkly", "layers")[0]["key"]
        sandbox.world.delete("launchdarkly", "layers", layer, project)
        sync(engine, narrow, "ld")
    assert tombstones(engine) == [("layers", layer)]


def test_with_the_old_key_everything_is_in_scope_again(engine: Engine) -> None:
    with Sandbox(small(), faults=[SILENT]) as sandbox:
        every = [settings_for(sandbox, keys=keys) for keys in ({}, NARROW, {})]
        reports = [sync(engine, settings, "ld") for settings in every]
    report = reports[-1]
    assert (report.changed, count(engine, "outside_scope")) == (0, 0)


def test_a_new_key_of_the_same_account_is_the_same_scope(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        report = sync(engine, settings_for(sandbox, keys=NARROW), "ld")
    reason = str(of(report, "projects").incomplete_reason)
    assert (report.exit_code, tombstones(engine)) == (5, [])
    assert "may not be read by this key any more" in reason


def test_who_the_key_belongs_to_is_asked_once_a_key(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        for _ in range(3):
            sync(engine, settings_for(sandbox), "ld")
        asked = [seen for seen in sandbox.requests if seen.path == "/api/v2/caller-identity"]
    assert len(asked) == 1
    assert {run["identity"][:3] for run in rows(engine, "runs")} == {"fp:"}


def test_a_new_filter_deletes_nothing(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ly")
        before = count(engine, "projects_current")
        report = sync(engine, settings_for(sandbox, ly={"projects": {"status": "active"}}), "ly")
    archived = before - len([p for p in layers(small()) if p["status"] == "active"])
    assert archived > 0
    assert (report.status, count(engine, "projects_current")) == ("ok", before)
    assert count(engine, "outside_scope") == archived


def test_what_leaves_the_filter_later_is_asked_for_once(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"status": "active"}})
        sync(engine, settings, "ly")
        archived = next(p["id"] for p in layers(sandbox.world) if p["status"] == "active")
        sandbox.world.update("layers", "projects", archived, status="archived")
        sandbox.reset_requests()
        report = [sync(engine, settings, "ly") for _ in range(3)][-1]
        asked = [seen for seen in sandbox.requests if archived in seen.path]
    assert (report.status, len(asked), tombstones(engine)) == ("ok", 1, [])


def test_what_is_deleted_in_a_filtered_scope_is_seen(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"status": "active"}})
        sync(engine, settings, "ly")
        gone = next(p["id"] for p in layers(sandbox.world) if p["status"] == "active")
        sandbox.world.delete("layers", "projects", gone)
        sync(engine, settings, "ly")
    assert tombstones(engine) == [("projects", gone)]


def test_without_the_filter_everything_is_back_and_nothing_changed(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        every = [
            settings_for(sandbox, ly={"projects": options})
            for options in ({}, {"status": "active"}, {})
        ]
        report = [sync(engine, settings, "ly") for settings in every][-1]
    assert (report.status, report.changed, count(engine, "outside_scope")) == ("ok", 0, 0)


def test_a_walk_that_is_not_whole_begins_no_scope(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "st")
        before = rows(engine, "scopes")
        sandbox.add_fault(Fault("statsig /console/v1/layers?*", "short_total", times=None, arg=3))
        sync(engine, settings_for(sandbox, st={"layers": {"tags": ["core"]}}), "st")
        after = rows(engine, "scopes")
    of_layers = [
        [row["scope"] for row in found if row["stream"] == "layers"] for found in (before, after)
    ]
    assert of_layers[0] == of_layers[1]
    assert tombstones(engine) == []
