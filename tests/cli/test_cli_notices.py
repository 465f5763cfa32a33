"""`etl notices`, and what `etl sync` tells after a run: the run's result is the run's alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.sandbox import Fault
from tests.cli.command import Place
from tests.support.receiver import Receiver, receiving

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def receiver(done: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that the configuration names, with the words of the README."""
    example = re.search(r"```toml\n(\[notices\].*?)```", README, re.DOTALL)
    assert example is not None
    text = done.config.read_text(encoding="utf-8")
    done.config.write_text(example[1] + text, encoding="utf-8")
    with receiving() as found:
        monkeypatch.setenv("ETL_NOTICES_URL", found.url)
        yield found


def test_a_failed_sync_tells_people_and_the_list_shows_it(done: Place, receiver: Receiver) -> None:
    done.sandbox.add_fault(Fault("layers", "status", times=None, arg=400))
    ended = done.etl("sync", "ly")
    assert (ended.code, ended.err) == (1, "")
    assert receiver.titles() == ["etl: ly: the sync failed"]
    assert "failure" in done.etl("notices").out
    (cause,) = done.etl("notices", "--json").json
    assert cause["cause"]["source"] == "ly"


def test_a_notice_that_cannot_be_sent_is_said_and_changes_no_exit_code(
    done: Place, receiver: Receiver
) -> None:
    for row in done.sandbox.world.live("layers", "projects"):
        done.sandbox.world.delete("layers", "projects", row.payload["id"])
    receiver.refuses = True
    ended = done.etl("sync", "ly")
    assert ended.code == 3
    assert "was not sent to env ETL_NOTICES_URL" in ended.err
    assert receiver.url not in ended.err


def test_held_deletions_that_were_applied_are_told_as_over_at_once_and_no_key_is_needed(
    done: Place, receiver: Receiver
) -> None:
    for row in done.sandbox.world.live("layers", "projects"):
        done.sandbox.world.delete("layers", "projects", row.payload["id"])
    assert done.etl("sync", "ly").code == 3
    file = str(done.config.with_name("plan.json"))
    assert done.etl("plan", "ly", "--out", file).code == 0
    assert receiver.titles() == ["etl: ly: deletions are held back"]
    assert done.etl("apply", file, ly="").code == 0
    over = ["etl: ly: recovered, it is over: deletions are held back"]
    assert receiver.titles() == over
    assert done.etl("apply", file).code == 0  # it was applied before
    assert done.etl("sync", "ly").code == 0
    assert receiver.titles() == []
    assert done.etl("notices", "--json").json == []


def test_a_backfill_that_fails_is_told_once_and_its_end_once(
    done: Place, receiver: Receiver
) -> None:
    done.sandbox.add_fault(Fault("layers", "status", times=None, arg=400))
    for _ in range(2):
        assert done.etl("backfill", "ly").code == 1
    assert receiver.titles() == ["etl: ly: a backfill failed"]
    done.sandbox.clear_faults()
    assert done.etl("backfill", "ly").code == 0
    assert receiver.titles() == ["etl: ly: recovered, it is over: a backfill failed"]


def test_a_notice_of_a_backfill_that_cannot_be_sent_changes_no_exit_code(
    done: Place, receiver: Receiver
) -> None:
    receiver.refuses = True
    done.sandbox.add_fault(Fault("layers", "status", times=None, arg=401))
    ended = done.etl("backfill", "ly", "--json")
    assert (ended.code, "was not sent to env ETL_NOTICES_URL" in ended.err) == (4, True)
    assert ended.json["runs"][0]["status"] == "denied"


def test_the_test_message_arrives(done: Place, receiver: Receiver) -> None:
    assert done.etl("notices", "--test").out == "env ETL_NOTICES_URL: sent\n"
    assert receiver.titles() == ["etl: a test"]
    receiver.refuses = True
    assert done.etl("notices", "--test").code == 1


def test_without_a_url_the_test_says_what_to_write(done: Place) -> None:
    ended = done.etl("notices", "--test")
    assert (ended.code, "[notices] urls" in ended.err) == (2, True)
    assert done.etl("notices").out == "nothing is wrong that people should be told of\n"


def test_a_url_in_the_configuration_itself_is_refused_and_not_shown(done: Place) -> None:
    text = done.config.read_text(encoding="utf-8")
    done.config.write_text(f'[notices]\nurls = ["json://a-secret@host"]\n{text}')
    ended = done.etl("sync", "ly")
    assert ended.code == 2
    assert "notices.urls" in ended.err
    assert "a-secret" not in ended.err + ended.out


def test_an_unset_variable_is_exit_2_and_named(done: Place, receiver: Receiver) -> None:
    ended = done.etl("sync", "ly", ETL_NOTICES="")
    assert ended.code == 0
    done.config.write_text(
        done.config.read_text(encoding="utf-8").replace("ETL_NOTICES_URL", "ETL_NOT_SET_URL")
    )
    ended = done.etl("sync", "ly")
    assert (ended.code, "ETL_NOT_SET_URL" in ended.err) == (2, True)
