"""The evidence report: it tells all that happened, claims no more, and says the same of both."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, select

from etl.sandbox import Fault, Sandbox
from tests.conftest import BOTH, Databases
from tests.support.database import count, rows
from tests.support.internals.database import EvidenceQuery, evidence, prune, run_streams, snapshot
from tests.support.internals.values import OPERATIONS, Evidence
from tests.support.internals.values import evidence_page as page
from tests.support.runs import hour, settings_for, small, sync, sync_all
from tests.support.twins import copy_rows
from tests.unit.reports.test_html import Seen

SCRIPT = "<script>alert(1)</script><img src=http://127.0.0.1/x onerror=alert(1)>"
OVERRIDE = "\u202egnp.exe\u202c"
WHOLE = EvidenceQuery(begin=hour(0), end=hour(9))


@pytest.fixture(scope="module")
def twins(databases: Databases) -> Iterator[Mapping[str, Engine]]:
    """Five syncs of a world with hostile names, one of them without an answer of Statsig."""
    with databases("sqlite") as one, databases("postgres") as other:
        with Sandbox(small(5)) as sandbox:
            settings, world = settings_for(sandbox), sandbox.world
            for step in range(4):
                sync_all(one, settings, hour(step))
                world.evolve(changed=0.2, deleted=2, renamed=1, created=2, restored=1)
                if step == 0:
                    world.create("layers", "projects", name=SCRIPT)
                    world.update("statsig", "layers", "Checkout", description=SCRIPT)
                    world.create("statsig", "layers", id=OVERRIDE, name=OVERRIDE)
            sandbox.add_fault(Fault("statsig", "status", times=None, arg=503))
            assert sync(one, settings, "st", hour(4)).exit_code != 0
        copy_rows(one, other)
        yield {"sqlite": one, "postgres": other}


@pytest.fixture(scope="module", params=BOTH)
def story(request: pytest.FixtureRequest, twins: Mapping[str, Engine]) -> Engine:
    """Each of them."""
    return twins[request.param]


def gathered(connection: Connection, asked: EvidenceQuery) -> Evidence:
    """The values of a report."""
    told = {"title": "What changed", "version": "0"}
    return evidence.gather(connection, asked, made_at=hour(10), **told)


def of(engine: Engine, asked: EvidenceQuery = WHOLE) -> Evidence:
    """The same of an engine."""
    with snapshot(engine) as connection:
        return gathered(connection, asked)


def test_every_change_is_counted_and_told_once(story: Engine) -> None:
    found = of(story)
    there = Counter(row["operation"] for row in rows(story, "changes"))
    assert {name: found.total(name) for name in OPERATIONS} == {n: there[n] for n in OPERATIONS}
    told = [*found.edits, *found.deletions, *found.creations]
    assert len({one.change_id for one in told}) == len(told) == found.total() == there.total()
    assert sum(len(one.fields) for one in told) == count(story, "change_fields")


def test_every_deletion_has_its_evidence(story: Engine) -> None:
    found = of(story).deletions
    assert found
    assert all(one.reason and one.proof for one in found)


def test_a_part_of_the_time_has_a_part_of_the_changes(story: Engine) -> None:
    parts = [
        of(story, EvidenceQuery(begin=hour(step), end=hour(step))).total() for step in range(4)
    ]
    assert sum(parts) == of(story).total()
    assert all(parts)
    assert of(story, EvidenceQuery(begin=hour(5), end=hour(9))).total() == 0


def test_a_run_tells_its_own_changes(story: Engine) -> None:
    found = of(story, EvidenceQuery(begin=hour(1), end=hour(1), source="ld", run_id=4))
    assert [run.run_id for run in found.runs] == [4]
    assert found.total() == count(story, "changes", "run_id = 4")
    assert {(one.source, one.runs) for one in found.completeness} == {("ld", 1)}


def test_a_source_and_a_stream_may_be_asked_for(story: Engine) -> None:
    found = of(story, EvidenceQuery(begin=hour(0), end=hour(9), source="st", stream="layers"))
    assert set(found.by("source", "stream")) == {("st", "layers")}
    assert [(one.source, one.stream) for one in found.completeness] == [("st", "layers")]


def test_a_list_of_runs_that_is_cut_says_so(story: Engine) -> None:
    whole = of(story)
    with snapshot(story) as connection:
        few, counted = evidence.ran(connection, WHOLE, most=1)
        none, unseen = evidence.ran(connection, WHOLE, most=0)
    telling = len(whole.runs)
    assert few == list(whole.runs[:1])
    assert (counted, unseen) == ((telling, 1, 13), (telling, 1, 13))
    assert "1 run of 13 did not see everything" in page(replace(whole, runs=none))
    assert f"The newest 1 of {telling} runs are told here." in page(replace(whole, runs=few))
    assert "runs are told here" not in page(whole)


def test_lists_of_a_run_that_are_cut_are_counted(databases: Databases) -> None:
    """A run in which no project's lists could be read: more than are told one by one."""
    with databases("sqlite") as engine:
        with Sandbox(small(5)) as sandbox:
            sandbox.add_fault(Fault("launchdarkly */layers", "status", times=None, arg=404))
            assert sync(engine, settings_for(sandbox), "ld", hour(0)).exit_code != 0
        with engine.connect() as connection:
            query = select(run_streams).where(~run_streams.c.complete)
            missed = len(connection.execute(query).all())
        assert missed > 2
        whole = of(engine).runs[0].remarks
        assert len([one for one in whole if one.startswith("layers")]) == missed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evidence, "MAX_GAPS", 2)
            few = of(engine).runs[0].remarks
        assert [one for one in few if one.startswith("layers")] == [*whole[:2]]
        assert few[-1] == (
            f"and {missed - 2} more lists not seen to the end; `etl show 1 --partitions` tells all"
        )


def test_a_run_that_failed_is_not_passed_over(story: Engine) -> None:
    whole = of(story)
    assert whole.all_runs == 13
    assert not whole.runs[0].complete
    assert "1 run of 13 did not see everything" in page(whole)
    good = of(story, EvidenceQuery(begin=hour(0), end=hour(3)))
    assert "Every stream was read to its proved end in every run." in page(good)


def test_what_was_pruned_of_that_time_is_said(
    databases: Databases, twins: Mapping[str, Engine]
) -> None:
    with databases("sqlite") as engine:
        copy_rows(twins["sqlite"], engine)
        with engine.begin() as connection:
            prune(connection, now=hour(9), runs_before=None, history_before=hour(2))
        told = "The changes of st before 2026-11-01 02:00:00 were pruned."
        assert told in page(of(engine))
        assert told not in page(of(engine, EvidenceQuery(begin=hour(2), end=hour(9))))


def test_both_databases_give_the_same_page(twins: Mapping[str, Engine]) -> None:
    told = [page(of(engine)) for engine in twins.values()]
    assert told[0] == told[1]


def test_nothing_in_the_page_is_run_or_loaded(story: Engine) -> None:
    seen = Seen(page(of(story)))
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(seen.tags)
    names = {name for name, _ in seen.attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href", "style")}
    assert "url(" not in page(of(story))
    policies = [value for name, value in seen.attributes if name == "content" and value]
    assert policies[0].startswith("default-src 'none'; style-src 'unsafe-inline';")


def test_hostile_names_are_text(story: Engine) -> None:
    made = page(of(story))
    seen = Seen(made)
    assert SCRIPT in seen.text
    assert "\u202e" not in made
    assert "\x1b" not in made
    assert "\\u202egnp.exe" in seen.text


def test_what_is_left_out_is_said(story: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MAX_EVENTS", 3)
    found = of(story)
    told = re.findall(r"The first 3 of (\d+) (\w+) are told here", page(found))
    assert [what for _, what in told] == ["deletions", "updates", "creations"]
    assert found.total() == count(story, "changes")


def test_a_time_without_change_says_so(story: Engine) -> None:
    made = page(of(story, EvidenceQuery(begin=hour(5), end=hour(5) + timedelta(hours=1))))
    assert "Nothing changed." in made
    assert "No run." in made
