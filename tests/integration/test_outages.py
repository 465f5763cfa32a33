"""What a vendor refuses or breaks: the rest lands, nothing is deleted, and the run says so."""

from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import contents, count, counts, rows
from tests.support.internals.values import RunReport
from tests.support.runs import SMALL, asked, of, settings_for, small, sync, sync_all

LAYERS_OF_ALL = "launchdarkly */layers"
LAYERS_OF_ONE = "launchdarkly /api/v2/projects/search/layers"
PROJECTS = SMALL.ld_projects


def refused(match: str, status: int, times: int | None = None) -> Fault:
    return Fault(match, "status", times=times, arg=status)


def end(report: RunReport) -> tuple[str, int]:
    return report.status, report.exit_code


def test_layers_that_are_not_for_sale_are_told_as_unavailable(engine: Engine) -> None:
    with Sandbox(small(), faults=[refused(LAYERS_OF_ALL, 403)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
    layers = of(report, "layers")
    assert (end(report), layers.status, layers.complete) == (("ok", 0), "unavailable", False)
    assert (count(engine, "projects"), count(engine, "layers")) == (PROJECTS, 0)


def test_layers_that_are_no_longer_allowed_are_not_deleted(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.add_fault(refused(LAYERS_OF_ALL, 403))
        report = sync(engine, settings, "ld")
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    assert (end(report), of(report, "layers").status) == (("partial", 5), "incomplete")
    assert count(engine, "changes", "operation = 'deleted'") == 0


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_failure_in_one_project_lets_the_others_land(engine: Engine, status: int) -> None:
    with Sandbox(small(), faults=[refused(LAYERS_OF_ONE, status)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
    assert (end(report), count(engine, "projects")) == (("partial", 5), PROJECTS)
    assert count(engine, "layers") == (PROJECTS - 1) * SMALL.ld_layers
    (told,) = [found for found in report.partitions if found.stream == "layers"]
    assert (told.parent_key, told.complete) == ("search", False)
    assert told.incomplete_reason is not None
    assert str(status) in told.incomplete_reason


@pytest.mark.parametrize("kind", ["not_json", "truncated", "no_list", "wrong_type", "html"])
def test_a_broken_answer_in_one_project_lets_the_others_land(engine: Engine, kind: str) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.add_fault(Fault(LAYERS_OF_ONE, kind))
        report = sync(engine, settings, "ld")
    assert (end(report), of(report, "layers").incomplete_partitions) == (("partial", 5), 1)
    assert count(engine, "changes", "operation = 'deleted'") == 0


def test_a_failure_everywhere_ends_the_run_before_all_projects_are_asked(engine: Engine) -> None:
    world = World(7, Sizes(ld_projects=30, ld_environments=1, ld_layers=1))
    with Sandbox(world, faults=[refused(LAYERS_OF_ALL, 503)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
        assert len(asked(sandbox, "/layers")) < 20
        sandbox.clear_faults()
        again = sync(engine, settings_for(sandbox), "ld")
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    assert (end(report), end(again)) == (("parked", 75), ("ok", 0))


def test_a_failure_of_the_list_of_projects_parks_the_run(engine: Engine) -> None:
    with Sandbox(small(), faults=[refused("launchdarkly", 503, 1)]) as sandbox:
        settings = settings_for(sandbox)
        parked = sync(engine, settings, "ld")
        again = sync(engine, settings, "ld")
    assert (end(parked), end(again)) == (("parked", 75), ("ok", 0))


def test_environments_that_may_not_be_listed_leave_those_that_came_with_the_project(
    engine: Engine,
) -> None:
    match = "launchdarkly */big-estate/environments*"
    with Sandbox(small(big_project=True), faults=[refused(match, 403)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
    environments = of(report, "environments")
    assert count(engine, "environments", "project_key = 'big-estate'") == 20
    assert count(engine, "layers") == PROJECTS * SMALL.ld_layers
    assert environments.incomplete_reason is not None
    assert environments.incomplete_reason.startswith("not available to this key: ld: 403")
    assert (environments.complete, report.exit_code) == (False, 0)


def test_environments_that_may_no_longer_be_listed_are_not_deleted(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.add_fault(refused("launchdarkly */big-estate/environments*", 403))
        report = sync(engine, settings, "ld")
    live = count(engine, "environments_current", "project_key = 'big-estate'")
    assert (end(report), live) == (("partial", 5), 28)


class TestStatsigProject:
    """Two routes help to name the project of a key; a key may lack the right to either."""

    HELPS = ("statsig /console/v1/project", "statsig /console/v1/settings/project")

    def refuse(self, sandbox: Sandbox, status: int = 403) -> None:
        for match in self.HELPS:
            sandbox.add_fault(refused(match, status))

    def named(self, engine: Engine) -> list[tuple[str, str, int]]:
        return [(row["key"], row["name"], row["version"]) for row in rows(engine, "projects")]

    def test_without_help_it_is_named_after_the_source(self, engine: Engine) -> None:
        with Sandbox(small()) as sandbox:
            self.refuse(sandbox)
            report = sync(engine, settings_for(sandbox), "st")
        assert self.named(engine) == [("st", "st", 1)]
        assert (end(report), count(engine, "layers")) == (("ok", 0), SMALL.statsig_layers)
        assert len(report.notes) == 1
        assert report.notes[0].endswith("named after the source")

    def test_help_that_comes_later_is_an_update(self, engine: Engine) -> None:
        with Sandbox(small()) as sandbox:
            settings = settings_for(sandbox)
            self.refuse(sandbox)
            sync(engine, settings, "st")
            sandbox.clear_faults()
            sync(engine, settings, "st")
        assert self.named(engine) == [("sandbox_company_id", "Sandbox Project", 2)]
        operations = [row["operation"] for row in rows(engine, "changes", "stream = 'projects'")]
        assert operations == ["created", "updated"]
        assert count(engine, "layers", "project_key = 'sandbox_company_id'") == 25
        assert count(engine, "layers", "version > 1") == 0

    def test_help_that_ends_leaves_what_is_stored(self, engine: Engine) -> None:
        with Sandbox(small()) as sandbox:
            settings = settings_for(sandbox)
            sync(engine, settings, "st")
            self.refuse(sandbox)
            report = sync(engine, settings, "st")
        assert self.named(engine) == [("sandbox_company_id", "Sandbox Project", 1)]
        assert (end(report), report.changed) == (("ok", 0), 0)
        assert report.notes[0].endswith("kept as stored")

    def test_one_help_of_two_is_enough_for_its_part(self, engine: Engine) -> None:
        with Sandbox(small(), faults=[refused(self.HELPS[1], 404)]) as sandbox:
            sync(engine, settings_for(sandbox), "st")
        assert self.named(engine) == [("sandbox_company_id", "st", 1)]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("st", Fault("statsig */layers[?]*", "same_page", times=None)),
        ("ly", Fault("layers", "same_page", times=None)),
        ("ld", Fault("launchdarkly /api/v2/projects[?]*", "same_page", times=None)),
        ("ld", Fault("launchdarkly /api/v2/projects[?]*", "next_self", times=None)),
        ("ly", Fault("layers", "next_cycle", times=None)),
        ("ld", Fault("launchdarkly /api/v2/projects[?]*", "next_foreign", arg="http://[::1]:9/x")),
        ("ld", Fault("launchdarkly /api/v2/projects[?]*", "next_scheme_relative")),
        ("st", Fault("statsig */layers[?]*", "no_list", after=1)),
        ("ly", Fault("layers", "not_json", after=1)),
        ("ly", Fault("layers", "nan", after=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_pages_that_cannot_be_trusted_end_the_run_and_nothing_is_stored(
    engine: Engine, source: str, fault: Fault
) -> None:
    paged: dict[str, Any] = {
        "st": {"layers": {"page_size": 5}},
        "ly": {"projects": {"page_size": 3}},
        "ld": {"projects": {"page_size": 2}},
    }
    with Sandbox(small(), faults=[fault]) as sandbox:
        settings = settings_for(sandbox, **paged)
        report = sync(engine, settings, source)
        assert end(report) == ("failed", 1)
        assert all(found == [] for found in contents(engine).values())
        assert [count(engine, table) for table in ("ledger", "leases", "staged_layers")] == [0] * 3
        sandbox.clear_faults()
        assert sync(engine, settings, source).exit_code == 0


def test_the_key_is_never_sent_to_where_a_foreign_link_leads(engine: Engine) -> None:
    with Sandbox(small()) as foreign, Sandbox(small()) as sandbox:
        link = f"{foreign.url}/api/v2/projects?limit=2&offset=2"
        sandbox.add_fault(Fault("launchdarkly /api/v2/projects?*", "next_foreign", arg=link))
        report = sync(engine, settings_for(sandbox), "ld")
        assert foreign.requests == []
    assert report.exit_code == 1


def test_a_wrong_key_is_told_without_showing_it(engine: Engine) -> None:
    wrong = "console-wrong-key-of-somebody-else"
    with Sandbox(small()) as sandbox:
        report = sync(engine, settings_for(sandbox, keys={"st": wrong}), "st")
        assert len(sandbox.requests) == 1
    assert end(report) == ("denied", 4)
    (run,) = rows(engine, "runs")
    assert wrong not in str(run)
    assert wrong not in str(report)
    assert "401" in run["error"]


def test_a_server_with_smaller_pages_than_asked_for_is_walked_to_its_end(engine: Engine) -> None:
    with Sandbox(small(big_project=True), page_cap=3) as sandbox:
        sync_all(engine, settings_for(sandbox))
        assert counts(engine) == sandbox.counts()


@pytest.mark.parametrize("form", ["no_scheme", "wrong_path", "no_limit", "query_only"])
def test_statsigs_odd_next_links_lead_to_the_right_pages(engine: Engine, form: str) -> None:
    fault = Fault("statsig */layers[?]*", "nextpage_form", times=None, arg=form)
    with Sandbox(small(), faults=[fault]) as sandbox:
        report = sync(engine, settings_for(sandbox, st={"layers": {"page_size": 5}}), "st")
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    assert end(report) == ("ok", 0)


@pytest.mark.parametrize("kind", ["empty_gap", "empty_last"])
def test_an_empty_page_is_not_the_end_unless_the_vendor_says_so(engine: Engine, kind: str) -> None:
    with Sandbox(small(), faults=[Fault("layers", kind, after=1)]) as sandbox:
        report = sync(engine, settings_for(sandbox, ly={"projects": {"page_size": 3}}), "ly")
        assert counts(engine)["layers"] == sandbox.counts()["layers"]
    assert end(report) == ("ok", 0)
