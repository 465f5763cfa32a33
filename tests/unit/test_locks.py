"""The lock files are closed: a release that appears after them changes nothing."""

import re

import pytest

from tests.support.locks import ROOT, Lock, open_ends, read_locks

LOCKS = read_locks()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_satisfies_every_requirement_by_itself(lock: Lock):
    assert open_ends(lock) == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_removing_any_pin_is_noticed(lock: Lock):
    elsewhere = {"colorama"}  # wanted on Windows only
    for pin in lock.pins:
        if pin.name not in elsewhere:
            ends = open_ends(lock.without(pin.name))
            assert any(end.startswith(pin.name) for end in ends), pin.name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_hashes_and_no_line_names_a_host(lock: Lock):
    text = (ROOT / lock.name).read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(entries) == len(lock.pins)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_locks_pin_the_same_versions():
    run, whole, develop = ({pin.name: str(pin) for pin in lock.pins} for lock in LOCKS)
    assert run.items() <= whole.items() <= develop.items()
