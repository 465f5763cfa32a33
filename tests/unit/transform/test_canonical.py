"""Identity, canonical content, hash, record."""

import pytest

from etl.model import Record, Reject
from etl.transform.canonical import content_of, hash_of, identify, transform
from tests.unit.builders import (
    LAYERS_PROJECTS,
    LD_ENVIRONMENTS,
    LD_LAYERS,
    LD_PROJECTS,
    PARTITION,
    STATSIG_LAYERS,
    environment,
    layer,
    layers_project,
    parameter,
    project,
    reservation,
)


def digest(item, stream):
    return hash_of(content_of(item, stream))


def ld_layer(*reservations, **fields):
    environments = {"production": {"reservations": list(reservations)}}
    return {
        "key": "l",
        "name": "L",
        "createdAt": 1711992161000,
        "environments": environments,
        **fields,
    }


@pytest.mark.parametrize(
    "volatile",
    [{"_links": {"self": {"href": "/y"}}}, {"_access": {"denied": []}}, {"environments": {}}],
    ids=["_links", "_access", "environments"],
)
def test_what_differs_from_call_to_call_is_no_content_of_a_project(volatile):
    assert digest(project(**volatile), LD_PROJECTS) == digest(project(), LD_PROJECTS)


@pytest.mark.parametrize("volatile", [{"_links": {}}, {"_access": {"allowed": []}}])
def test_what_differs_from_call_to_call_is_no_content_of_an_environment(volatile):
    changed, plain = environment(**volatile), environment()
    assert digest(changed, LD_ENVIRONMENTS) == digest(plain, LD_ENVIRONMENTS)


def test_the_order_of_tags_says_nothing():
    one, other = project(tags=["a", "b"]), project(tags=["b", "a"])
    assert digest(one, LD_PROJECTS) == digest(other, LD_PROJECTS)


def test_the_order_of_fields_says_nothing():
    item = project()
    assert digest(dict(reversed(item.items())), LD_PROJECTS) == digest(item, LD_PROJECTS)


def test_another_tag_is_another_content():
    assert digest(project(tags=["a"]), LD_PROJECTS) != digest(project(tags=["b"]), LD_PROJECTS)


def test_the_order_of_approval_tags_says_nothing():
    one, other = (
        environment(approvalSettings={"requiredApprovalTags": tags})
        for tags in (["a", "b"], ["b", "a"])
    )
    assert digest(one, LD_ENVIRONMENTS) == digest(other, LD_ENVIRONMENTS)


def test_the_order_of_approval_tags_of_a_resource_says_nothing():
    one, other = (
        environment(resourceApprovalSettings={"segment": {"requiredApprovalTags": tags}})
        for tags in (["a", "b"], ["b", "a"])
    )
    assert digest(one, LD_ENVIRONMENTS) == digest(other, LD_ENVIRONMENTS)


def test_the_order_of_reservations_says_nothing():
    one, other = reservation("a"), reservation("b")
    assert digest(ld_layer(one, other), LD_LAYERS) == digest(ld_layer(other, one), LD_LAYERS)


def test_another_percentage_is_another_content():
    one, other = ld_layer(reservation("a", 20)), ld_layer(reservation("a", 21))
    assert digest(one, LD_LAYERS) != digest(other, LD_LAYERS)


def test_the_order_of_parameters_is_content():
    one = layer(parameters=[parameter("a"), parameter("b")])
    other = layer(parameters=[parameter("b"), parameter("a")])
    assert digest(one, STATSIG_LAYERS) != digest(other, STATSIG_LAYERS)


def test_target_apps_as_text_equal_a_list_of_one():
    one, other = layer(targetApps="web"), layer(targetApps=["web"])
    assert digest(one, STATSIG_LAYERS) == digest(other, STATSIG_LAYERS)


@pytest.mark.parametrize("field", ["targetApps", "holdoutIDs", "tags"])
def test_the_order_of_a_set_of_a_statsig_layer_says_nothing(field):
    one, other = layer(**{field: ["a", "b"]}), layer(**{field: ["b", "a"]})
    assert digest(one, STATSIG_LAYERS) == digest(other, STATSIG_LAYERS)


def test_null_is_not_nothing():
    item = layer()
    del item["team"]
    assert digest(item, STATSIG_LAYERS) != digest(layer(team=None), STATSIG_LAYERS)


def test_true_is_not_one():
    one = layer(parameters=[parameter("a", True)])
    other = layer(parameters=[parameter("a", 1)])
    assert digest(one, STATSIG_LAYERS) != digest(other, STATSIG_LAYERS)


def test_a_set_of_mixed_things_has_an_order():
    one, other = layer(tags=["a", 1, None]), layer(tags=[None, "a", 1])
    assert digest(one, STATSIG_LAYERS) == digest(other, STATSIG_LAYERS)


@pytest.mark.parametrize("odd", [None, 5, {}, "x", [[1], ["a"]]])
def test_a_set_of_another_type_is_still_hashed(odd):
    item = environment(approvalSettings=odd, resourceApprovalSettings=odd)
    assert digest(item, LD_ENVIRONMENTS).startswith("1:")


def test_the_content_leaves_the_item_as_it_was():
    item = project(tags=["b", "a"])
    content_of(item, LD_PROJECTS)
    assert item == project(tags=["b", "a"])


def test_a_hash_is_the_same_on_every_machine():
    assert hash_of({"b": [1, "ä", None], "a": 0.5}) == "1:ad16f07c423eeabde41ace7f0bb62bc1"


def test_an_id_names_an_item():
    assert identify(project(), LD_PROJECTS) == "57be1db38b75bf0772d11383"


@pytest.mark.parametrize("item", [{}, {"_id": None}, {"_id": 5}, {"_id": ""}, None, "x", 5, []])
def test_an_item_without_a_usable_id_is_a_reject(item):
    assert isinstance(identify(item, LD_PROJECTS), Reject)


@pytest.mark.parametrize("item", [{"id": 5}, {"id": None}, {"id": "prj_"}, {}, None, []])
def test_a_layers_item_without_a_usable_id_is_a_reject(item):
    assert isinstance(identify(item, LAYERS_PROJECTS), Reject)


def test_a_reject_keeps_the_item_whole():
    rejected = identify({"name": "x"}, LD_PROJECTS)
    assert isinstance(rejected, Reject)
    assert rejected.payload == {"name": "x"}


def test_an_item_that_fits_is_a_record():
    assert isinstance(transform(project(), LD_PROJECTS, PARTITION), Record)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": None}, "name"),
        ({"tags": ["a", "b", 1]}, "tags.2"),
        ({"includeInSnippetByDefault": "yes"}, "includeInSnippetByDefault"),
        ({"defaultClientSideAvailability": []}, "defaultClientSideAvailability"),
    ],
)
def test_a_reject_names_the_place_that_does_not_fit(fields, path):
    rejected = transform(project(**fields), LD_PROJECTS, PARTITION)
    assert isinstance(rejected, Reject)
    assert rejected.path == path


def test_a_reject_knows_its_id():
    rejected = transform(project(name=None), LD_PROJECTS, PARTITION)
    assert isinstance(rejected, Reject)
    assert rejected.external_id == "57be1db38b75bf0772d11383"


@pytest.mark.parametrize("field", ["key", "name", "tags", "includeInSnippetByDefault"])
def test_a_missing_required_field_is_a_reject(field):
    item = project()
    del item[field]
    assert isinstance(transform(item, LD_PROJECTS, PARTITION), Reject)


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": [parameter("a"), parameter("a")]},
        {"parameters": None},
        {"parameters": [None]},
        {"createdTime": "yesterday"},
        {"isImplicitLayer": 1},
    ],
)
def test_a_statsig_layer_that_does_not_fit_is_a_reject(fields):
    assert isinstance(transform(layer(**fields), STATSIG_LAYERS, PARTITION), Reject)


@pytest.mark.parametrize(
    "fields",
    [
        {"environments": None},
        {"environments": {"production": []}},
        {"environments": {"production": {"reservations": [reservation("a"), reservation("a")]}}},
        {"environments": {"production": {"reservations": [{"experimentKey": "a"}]}}},
    ],
)
def test_a_launchdarkly_layer_that_does_not_fit_is_a_reject(fields):
    assert isinstance(transform(ld_layer(**fields), LD_LAYERS, PARTITION), Reject)


def test_null_reservations_are_an_absent_list():
    record = transform(
        ld_layer(environments={"production": {"reservations": None}, "test": {}}),
        LD_LAYERS,
        PARTITION,
    )
    assert not isinstance(record, Reject)
    assert record.children == {"layer_reservations": []}


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30T00:00:00Z", 5])
def test_a_date_that_is_none_is_a_reject(day):
    assert isinstance(transform(layers_project(createdAt=day), LAYERS_PROJECTS, PARTITION), Reject)


def test_reservations_whose_joined_keys_collide_are_distinct_rows():
    item = ld_layer(reservation("a-b", flag="c"), reservation("a", flag="b-c"))
    record = transform(item, LD_LAYERS, PARTITION)
    assert isinstance(record, Record)
    assert len({child.external_id for child in record.children["layer_reservations"]}) == 2


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_number_that_no_column_holds_is_a_reject(number):
    rejected = transform(environment(defaultTtl=number), LD_ENVIRONMENTS, PARTITION)
    assert isinstance(rejected, Reject)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0])
def test_a_number_that_fits_its_column_is_kept(number):
    record = transform(environment(defaultTtl=number), LD_ENVIRONMENTS, PARTITION)
    assert isinstance(record, Record)


def test_a_reservation_that_no_column_holds_is_a_reject():
    rejected = transform(ld_layer(reservation("a", 2**63)), LD_LAYERS, PARTITION)
    assert isinstance(rejected, Reject)


@pytest.mark.parametrize("text", ["x" * 801, "😀" * 201])
def test_an_id_too_long_for_an_index_is_a_reject(text):
    assert isinstance(identify(layer(id=text), STATSIG_LAYERS), Reject)


@pytest.mark.parametrize("text", ["x" * 800, "😀" * 200])
def test_a_long_id_that_fits_an_index_is_taken(text):
    assert identify(layer(id=text), STATSIG_LAYERS) == text


@pytest.mark.parametrize(
    ("item", "stream"),
    [
        (project(key="x" * 801), LD_PROJECTS),
        (environment(key="x" * 801), LD_ENVIRONMENTS),
        (ld_layer(reservation("x" * 801)), LD_LAYERS),
        (ld_layer(reservation("a", flag="x" * 801)), LD_LAYERS),
        (ld_layer(environments={"x" * 801: {"reservations": [reservation("a")]}}), LD_LAYERS),
        (layer(parameters=[parameter("x" * 801)]), STATSIG_LAYERS),
    ],
    ids=["project", "environment", "experiment", "flag", "environment of a layer", "parameter"],
)
def test_a_key_too_long_for_an_index_is_a_reject(item, stream):
    assert isinstance(transform(item, stream, PARTITION), Reject)


def test_a_megabyte_of_description_is_no_key():
    record = transform(layer(description="x" * 2**20), STATSIG_LAYERS, PARTITION)
    assert isinstance(record, Record)
