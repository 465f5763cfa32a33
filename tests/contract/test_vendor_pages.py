"""The samples of the vendors' pages against the provider files."""

import json
import re
from datetime import UTC, datetime

import pytest

from tests.contract.samples import (
    FOLDER,
    PAGES,
    PARTITION,
    body,
    items,
    page,
    sample,
    stored,
)
from tests.support.internals.running import PROVIDERS
from tests.support.internals.values import Record, Request, identify, transform
from tests.support.vendor_schemas import LISTS as LISTS_OF
from tests.support.vendor_schemas import faults, item_schema, schema_of

ITEMS = list(items())
each_item = pytest.mark.parametrize(
    ("stream", "item"), [item[1:] for item in ITEMS], ids=[item[0] for item in ITEMS]
)
each_page = pytest.mark.parametrize(("provider", "stream", "name"), PAGES)

DRIFT = {
    "launchdarkly/layers[0]": (("createdAt", "unusable"),),  # the page's sample says 1
    "layers/project": (  # get-project says more than the list
        ("organizationId", "added"),
        ("brand", "added"),
        ("platformIosBundleId", "added"),
    ),
}
NEXT = {
    ("launchdarkly", "projects_first_page"): Request(
        "/api/v2/projects?expand=environments&filter=tags%3Aops%2Bteam-a"
        "&limit=1&offset=1&sort=createdOn"
    ),
    ("statsig", "layers"): Request("/console/v1/layers", (("limit", "100"), ("page", "2"))),
    ("layers", "projects"): Request(
        "/v1/projects", (("limit", "200"), ("cursor", "eyJvZmZzZXQiOjI1fQ=="))
    ),
}
TOTALS = {
    ("launchdarkly", "projects"): 1,
    ("launchdarkly", "projects_first_page"): 2,
    ("launchdarkly", "environments"): 2,
    ("launchdarkly", "layers"): 1,
    ("launchdarkly", "layers_with_reservations"): 2,
    ("statsig", "layers"): 1189,
    ("statsig", "layers_last_page"): 1189,
}
DEVIATIONS = {
    "layers_every_field": {".data[0].createdTime: null"}
}  # as sources that read the live API say
LISTS = {"launchdarkly": "items", "statsig": "data", "layers": "items"}


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    else:
        yield path, value


def record_of(item, stream):
    record = transform(item, stream, PARTITION)
    assert isinstance(record, Record)
    return record


@each_page
def test_every_item_of_a_page_is_read(provider, stream, name):
    expected = sample(provider, name)[LISTS[provider]]
    assert page(provider, stream, name).items == expected


@each_page
def test_a_page_goes_on_where_the_vendor_says_so(provider, stream, name):
    assert page(provider, stream, name).next == NEXT.get((provider, name))


@each_page
def test_a_page_has_the_total_the_vendor_gives(provider, stream, name):
    assert page(provider, stream, name).total == TOTALS.get((provider, name))


@each_item
def test_every_item_has_an_identity(stream, item):
    assert isinstance(identify(item, stream), str)


@each_item
def test_every_item_becomes_a_record(stream, item):
    assert isinstance(transform(item, stream, PARTITION), Record)


@pytest.mark.parametrize(("name", "stream", "item"), ITEMS, ids=[item[0] for item in ITEMS])
def test_no_documented_field_is_drift(name, stream, item):
    assert record_of(item, stream).drift == DRIFT.get(name, ())


@each_item
def test_every_leaf_of_an_item_is_stored(stream, item):
    kept = [leaf for place in stored(record_of(item, stream), item) for leaf in leaves(place)]
    values = {repr(value) for _, value in kept}
    assert [path for path, value in leaves(item) if repr(value) not in values] == []


@each_page
def test_a_sample_follows_the_schema_of_its_list(provider, stream, name):
    schema = schema_of(LISTS_OF[provider, stream])
    assert set(faults(schema, json.loads(body(provider, name)))) <= DEVIATIONS.get(name, set())


@pytest.mark.parametrize(("name", "stream", "item"), ITEMS, ids=[item[0] for item in ITEMS])
def test_the_schema_documents_every_field_of_a_sample(name, stream, item):
    known = item_schema(LISTS_OF[name.partition("/")[0], stream.name])["properties"]
    assert set(item) - set(known) == {path for path, kind in DRIFT.get(name, ()) if kind == "added"}


def test_times_of_statsig_are_utc():
    record = record_of(
        page("statsig", "layers", "layers").items[0], PROVIDERS["statsig"].stream("layers")
    )
    assert (record.created_at, record.updated_at) == (
        datetime(2023, 3, 4, 1, 25, 18, 889000, UTC),
        datetime(2023, 3, 4, 1, 25, 18, 949000, UTC),
    )


@pytest.mark.parametrize(
    ("name", "updated_at"),
    [
        ("projects", datetime(2026, 4, 15, 17, 1, 9, tzinfo=UTC)),
        ("projects_last_page", datetime(2026, 4, 15, 17, 1, 9, 250000, UTC)),
    ],
)
def test_times_of_layers_are_utc(name, updated_at):
    stream = PROVIDERS["layers"].stream("projects")
    record = record_of(page("layers", "projects", name).items[0], stream)
    assert record.updated_at == updated_at


def test_the_time_of_a_launchdarkly_layer_is_utc():
    stream = PROVIDERS["launchdarkly"].stream("layers")
    item = page("launchdarkly", "layers", "layers_with_reservations").items[0]
    assert record_of(item, stream).created_at == datetime(2024, 4, 1, 17, 22, 41, tzinfo=UTC)


def test_reservations_are_child_rows():
    stream = PROVIDERS["launchdarkly"].stream("layers")
    item = page("launchdarkly", "layers", "layers_with_reservations").items[0]
    rows = record_of(item, stream).children["layer_reservations"]
    assert [dict(row.columns) for row in rows] == [
        {
            "environment_key": "production",
            "experiment_key": one["experimentKey"],
            "flag_key": one["flagKey"],
            "reservation_percent": one["reservationPercent"],
        }
        for one in item["environments"]["production"]["reservations"]
    ]


@pytest.mark.parametrize(("name", "place"), [("layers", 1), ("layers_every_field", 0)])
def test_parameters_are_child_rows(name, place):
    item = page("statsig", "layers", name).items[place]
    rows = record_of(item, PROVIDERS["statsig"].stream("layers")).children["layer_parameters"]
    assert [(row.name, row.columns["type"], row.columns["default_value"]) for row in rows] == [
        (one["name"], one["type"], one["defaultValue"]) for one in item["parameters"]
    ]


def test_target_apps_as_text_are_a_list():
    item = page("statsig", "layers", "layers_every_field").items[0]
    record = record_of(item, PROVIDERS["statsig"].stream("layers"))
    assert record.columns["target_apps"] == ["web"]


def test_a_version_is_text():
    item = page("statsig", "layers", "layers_every_field").items[0]
    record = record_of(item, PROVIDERS["statsig"].stream("layers"))
    assert record.columns["provider_version"] == "3"


def test_a_layer_without_a_name_is_named_by_its_id():
    item = page("statsig", "layers", "layers").items[1]
    record = record_of(item, PROVIDERS["statsig"].stream("layers"))
    assert record.name == "Homepage Feed Improvements"


def test_both_forms_of_a_layers_id_are_one_project():
    stream = PROVIDERS["layers"].stream("projects")
    listed = page("layers", "projects", "projects_last_page").items[0]
    assert stream.item_id(listed) == stream.item_id(sample("layers", "project"))


def test_the_project_of_a_statsig_key_is_made_of_two_answers():
    stream = PROVIDERS["statsig"].stream("projects")
    assert stream.combine is not None
    answers = [sample("statsig", "project"), sample("statsig", "settings_project")]
    record = record_of(stream.combine(answers, "acme"), stream)
    assert (record.key, record.name) == ("company_id", "My Project")


@pytest.mark.parametrize("answers", [[], [{}], [{"data": None}], [{"data": []}, {"error": 1}]])
def test_the_project_of_a_silent_statsig_key_is_named_by_its_source(answers):
    stream = PROVIDERS["statsig"].stream("projects")
    assert stream.combine is not None
    record = record_of(stream.combine(answers, "acme"), stream)
    assert (record.key, record.name) == ("acme", "acme")


def test_a_statsig_answer_cannot_rename_the_source():
    stream = PROVIDERS["statsig"].stream("projects")
    assert stream.combine is not None
    assert stream.item_id(stream.combine([{"data": {"source": "x"}}], "acme")) == "acme"


def test_embedded_environments_that_were_cut_are_incomplete():
    project = page("launchdarkly", "projects", "projects").items[0]
    _, embedded = PROVIDERS["launchdarkly"].stream("projects").split_item(project)
    assert [one.complete for one in embedded] == [False]  # the sample: 1 of 2


def test_embedded_environments_know_their_project():
    project = page("launchdarkly", "projects", "projects").items[0]
    _, embedded = PROVIDERS["launchdarkly"].stream("projects").split_item(project)
    assert (embedded[0].partition.parent_id, embedded[0].partition.parent_key) == (
        "57be1db38b75bf0772d11383",
        "project-key-123abc",
    )


def test_a_project_without_environments_carries_none():
    project = page("launchdarkly", "projects", "projects_required_fields_only").items[0]
    assert PROVIDERS["launchdarkly"].stream("projects").split_item(project) == (project, ())


@pytest.mark.parametrize("name", ["projects", "project", "environments"])
def test_no_key_of_a_sample_gets_past_the_door(name):
    assert not re.search(r"(sdk|mob)-[0-9a-f]", str(sample("launchdarkly", name)))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/*.json")), ids=lambda path: path.stem)
def test_the_keys_in_the_samples_are_made_up(path):
    text = body(path.parent.name, path.stem).decode()
    keys = re.findall(r"(?:sdk|mob|api)-[0-9a-f-]{30,}", text)
    assert [key for key in keys if "00000000-0000-4000-8000-0000000000" not in key] == []
