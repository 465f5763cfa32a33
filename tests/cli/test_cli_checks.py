"""`etl audit`, `etl rejects`, `etl drift`: is the database sound, what was not or oddly sent."""

import json
import sqlite3

import pytest

from etl.sandbox import Fault
from tests.cli.command import Place
from tests.support.internals.database import CHECKS

BAD = Fault("statsig /console/v1/layers[?]*", "patch", times=1, arg=(("idType",), None))
NEW = Fault("layers /v1/projects[?]*", "patch", times=1, arg=(("newThing",), {"deep": [1]}))


@pytest.fixture
def odd(migrated: Place) -> Place:
    """A place whose vendors sent an item of no known shape, and an unknown field."""
    migrated.sandbox.add_fault(BAD)
    migrated.sandbox.add_fault(NEW)
    assert migrated.etl("sync").code == 5
    return migrated


def alter(place: Place, statement: str) -> None:
    with sqlite3.connect(place.database) as connection:
        connection.execute(statement)
    connection.close()


def mend(place: Place) -> None:
    """The rejected item as a newer code might take it."""
    alter(place, "UPDATE rejects SET payload = json_set(payload, '$.idType', 'userID')")


def test_audit_of_a_sound_database_says_ok_a_line_a_check(story: Place) -> None:
    ended = story.etl("audit")
    *lines, last = ended.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"ok   {one.name}" for one in CHECKS]
    assert (ended.code, ended.err, last) == (0, "", f"all {len(CHECKS)} checks hold")


def test_audit_as_json_is_a_list_of_findings(story: Place) -> None:
    found = story.etl("audit", "--json").json
    assert [one["check"] for one in found] == [one.name for one in CHECKS]
    assert all(one["ok"] and one["count"] == 0 and one["promise"] for one in found)


def test_audit_names_what_is_broken_with_examples_and_the_remedy(done: Place) -> None:
    alter(done, "UPDATE layers SET description = 'tampered' WHERE source = 'st'")
    ended = done.etl("audit")
    assert (ended.code, ended.err) == (1, f"etl: 1 of {len(CHECKS)} checks do not hold\n")
    assert "BAD  columns: 25 violations of: typed columns are what this code makes" in ended.out
    assert ended.out.count("description not as computed from its raw") == 5
    assert "and 20 more" in ended.out
    assert "to repair: `etl reprocess` makes them anew from the stored payloads" in ended.out


def test_audit_as_json_of_a_broken_database_is_whole_and_exit_1(done: Place) -> None:
    alter(done, "UPDATE layers SET name = 'tampered' WHERE layer_id = 1")
    ended = done.etl("audit", "--json")
    (bad,) = [one for one in ended.json if not one["ok"]]
    assert (ended.code, bad["check"], bad["count"]) == (1, "columns", 1)
    assert "layers 1 " in bad["examples"][0]


def test_audit_shows_control_characters_and_does_not_obey_them(done: Place) -> None:
    alter(done, "UPDATE projects SET key = char(27) || '[2J' WHERE project_id = 1")
    ended = done.etl("audit")
    assert ended.code == 1
    assert "\x1b" not in ended.out


def test_audit_of_a_database_of_another_version_is_exit_2(done: Place) -> None:
    alter(done, "UPDATE alembic_version SET version_num = '0001'")
    ended = done.etl("audit")
    assert (ended.code, "etl db upgrade" in ended.err) == (2, True)


def test_audit_before_the_first_sync_is_ok(here: Place) -> None:
    assert here.etl("db", "upgrade").code == 0
    assert here.etl("audit").code == 0


def test_rejects_lists_what_waits_and_is_exit_0(odd: Place) -> None:
    ended = odd.etl("rejects")
    assert ended.code == 0
    for word in ("st", "layers", "idType", "Input should be"):
        assert word in ended.out


def test_rejects_as_json_has_the_payload(odd: Place) -> None:
    (found,) = odd.etl("rejects", "--json").json
    assert (found["path"], found["payload"]["idType"]) == ("idType", None)
    assert (found["external_id"], found["resolved_at"]) == (found["payload"]["id"], None)
    assert "accepted_now" not in found


def test_rejects_of_another_source_are_not_listed(odd: Place) -> None:
    assert odd.etl("rejects", "ly").out == "no quarantined item\n"
    assert odd.etl("rejects", "ly", "--json").json == []


def test_rejects_that_are_resolved_are_listed_with_all(odd: Place) -> None:
    assert odd.etl("sync").code == 0
    assert odd.etl("rejects").out == "no quarantined item\n"
    (found,) = odd.etl("rejects", "--all", "--json").json
    assert found["resolved_at"] is not None
    shown = odd.etl("rejects", "--all").out
    assert "resolved" in shown  # its title may be broken: `resolved` over `(UTC)`
    assert found["resolved_at"][:10] in shown


def test_a_replay_that_is_rejected_again_is_exit_5(odd: Place) -> None:
    ended = odd.etl("rejects", "--replay")
    assert ended.code == 5
    assert "0 of 1 item would be accepted by this code" in ended.out
    (found,) = odd.etl("rejects", "--replay", "--json").json
    assert (found["accepted_now"], found["rejected_now"]["path"]) == (False, "idType")


def test_a_replay_that_is_accepted_is_exit_0_and_says_when_it_is_stored(odd: Place) -> None:
    mend(odd)
    ended = odd.etl("rejects", "--replay")
    assert ended.code == 0
    assert "1 of 1 item would be accepted by this code" in ended.out
    assert "Nothing was written: the next `etl sync` stores them" in ended.out
    (found,) = odd.etl("rejects", "--replay", "--json").json
    assert (found["accepted_now"], found["rejected_now"]) == (True, None)


def test_a_replay_needs_no_network(odd: Place) -> None:
    odd.sandbox.reset_requests()
    odd.etl("rejects", "--replay")
    assert list(odd.sandbox.requests) == []


def test_a_replay_of_nothing_is_exit_0(story: Place) -> None:
    ended = story.etl("rejects", "--replay")
    assert (ended.code, ended.out) == (0, "no quarantined item\n")


def test_drift_is_listed_and_is_exit_1(odd: Place) -> None:
    ended = odd.etl("drift")
    assert ended.code == 1
    for word in ("ly", "projects", "newThing", "added", "object"):
        assert word in ended.out
    assert odd.etl("drift", "st").code == 0


def test_drift_as_json_tells_field_and_times(odd: Place) -> None:
    ended = odd.etl("drift", "--json")
    (found,) = json.loads(ended.out)
    assert (ended.code, found["path"], found["kind"]) == (1, "newThing", "added")
    assert found["first_seen_at"] == found["last_seen_at"]


def test_drift_that_is_older_than_asked_for_is_exit_0(odd: Place) -> None:
    ended = odd.etl("drift", "--since", "0s")
    assert (ended.code, ended.out) == (0, "no drift\n")
    assert odd.etl("drift", "--since", "1h").code == 1


def test_a_database_without_drift_is_exit_0(story: Place) -> None:
    assert (story.etl("drift").code, story.etl("drift", "--json").json) == (0, [])


def test_a_since_that_is_no_time_is_refused(story: Place) -> None:
    ended = story.etl("drift", "--since", "lately")
    assert (ended.code, "--since 'lately'" in ended.err) == (2, True)


@pytest.mark.parametrize("command", ["rejects", "drift"])
def test_a_source_that_nobody_knows_is_an_error(story: Place, command: str) -> None:
    ended = story.etl(command, "lyy")
    assert (ended.code, "no source lyy" in ended.err) == (2, True)
