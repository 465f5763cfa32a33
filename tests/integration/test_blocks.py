"""What a provider's refusal leads to: what is told, who is held back, and how it is lifted."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox
from tests.support import tls
from tests.support.database import rows
from tests.support.runs import settings_for, small, sync

OUTAGE = (503, {"Retry-After": "3600"})
LISTS = {"ld": "launchdarkly", "st": "statsig", "ly": "layers"}


def refusing(sandbox: Sandbox) -> None:
    for match in LISTS.values():
        sandbox.add_fault(Fault(match, "status", arg=OUTAGE))


def test_a_refusal_is_told_with_its_cause_and_again_by_the_run_that_it_holds_back(
    engine: Engine,
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        refusing(sandbox)
        first = sync(engine, settings, "ly")
        asked = len(sandbox.requests)
        second = sync(engine, settings, "ly")
        assert len(sandbox.requests) == asked
        url = sandbox.url
    for report in (first, second):
        assert (report.status, report.exit_code) == ("parked", 75)
        assert (report.error or "").startswith("ly: 503 ")
        assert url in (report.error or "")
        assert "it asks to wait until" in (report.error or "")


def test_a_refusal_by_one_host_does_not_hold_back_another_one(engine: Engine) -> None:
    with Sandbox(small()) as wrong, Sandbox(small()) as right:
        settings = settings_for(wrong)
        refusing(wrong)
        assert sync(engine, settings, "ly").status == "parked"
        corrected = replace(settings.sources["ly"], base_url=right.url)
        assert sync(engine, replace(settings, sources={"ly": corrected}), "ly").status == "ok"


def test_a_refusal_is_lifted_by_a_person(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        refusing(sandbox)
        assert sync(engine, settings, "ly").status == "parked"
        assert sync(engine, settings, "ly").status == "parked"
        assert sync(engine, settings, "ly", retry_now=True).status == "ok"


@pytest.mark.parametrize("name", LISTS)
def test_an_error_with_status_200_is_told_in_its_own_words(engine: Engine, name: str) -> None:
    said = {"code": "unauthorized", "message": "token expired"}
    with Sandbox(small()) as sandbox, tls.plain_server(tls.answer(json.dumps(said).encode())) as it:
        settings = settings_for(sandbox)
        changed = replace(settings.sources[name], base_url=it.url)
        report = sync(engine, replace(settings, sources={name: changed}), name)
    assert (report.status, report.exit_code) == ("failed", 1)
    assert "unauthorized: token expired" in (report.error or "")


def test_the_stored_project_is_what_the_vendor_sent_without_its_environments(
    engine: Engine,
) -> None:
    with Sandbox(small()) as sandbox:
        assert sync(engine, settings_for(sandbox), "ld").status == "ok"
    found = rows(engine, "projects")
    assert found
    for row in found:
        raw = row["raw"] if isinstance(row["raw"], dict) else json.loads(row["raw"])
        assert "environments" not in raw
        assert "_links" in raw
