"""What differs, field by field."""

import pytest

from etl.transform.diff import MAX_CHANGES, MISSING, FieldChange, field_changes

KEYED = {"parameters": ("name",), "reservations": ("experimentKey", "flagKey")}


def changes(old, new):
    return field_changes(old, new, KEYED)


def parameter(name, default=""):
    return {"name": name, "defaultValue": default}


def parameters(*names):
    return {"parameters": [parameter(name) for name in names]}


def reservations(*pairs):
    held = [{"experimentKey": one, "flagKey": flag, "percent": share} for one, flag, share in pairs]
    return {"environments": {"production": {"reservations": held}}}


def test_equal_values_have_no_changes():
    assert changes({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_a_field_is_named_by_its_path():
    old, new = {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}
    assert changes(old, new) == [FieldChange("a.b.c", 1, 2)]


def test_a_name_that_is_no_plain_word_is_quoted():
    assert changes({"a b": {"c.d": 1}}, {"a b": {"c.d": 2}})[0].path == '"a b"."c.d"'


def test_an_empty_name_is_quoted():
    assert changes({"": 1}, {"": 2})[0].path == '""'


def test_a_name_with_a_dot_is_not_a_nested_field():
    paths = [
        change.path for change in changes({"a.b": 1, "a": {"b": 1}}, {"a.b": 2, "a": {"b": 2}})
    ]
    assert len(set(paths)) == 2


def test_changes_come_in_the_order_of_their_paths():
    paths = [change.path for change in changes({"b": 1, "a": 1}, {"b": 2, "a": 2})]
    assert paths == ["a", "b"]


def test_a_new_field_was_missing_before():
    assert changes({}, {"a": 1}) == [FieldChange("a", MISSING, 1)]


def test_a_field_that_went_is_missing_now():
    assert changes({"a": 1}, {}) == [FieldChange("a", 1, MISSING)]


def test_null_is_not_missing():
    assert changes({}, {"a": None}) == [FieldChange("a", MISSING, None)]


def test_missing_says_what_it_is():
    assert repr(MISSING) == "MISSING"


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"x": 1}, {"x": True}), (None, 0), ("1", 1)],
)
def test_values_that_python_takes_for_equal_differ(old, new):
    assert len(changes({"a": old}, {"a": new})) == 1


def test_a_plain_list_changes_as_a_whole():
    assert changes({"tags": ["a"]}, {"tags": ["a", "b"]}) == [
        FieldChange("tags", ["a"], ["a", "b"])
    ]


def test_another_type_is_a_change_of_the_whole():
    assert changes({"a": {"b": 1}}, {"a": [1]}) == [FieldChange("a", {"b": 1}, [1])]


def test_an_item_of_a_keyed_list_is_named_by_its_key():
    old, new = {"parameters": [parameter("a", 1)]}, {"parameters": [parameter("a", 2)]}
    assert changes(old, new) == [FieldChange("parameters[a].defaultValue", 1, 2)]


def test_an_insertion_in_the_middle_is_one_change():
    found = changes(parameters("a", "c"), parameters("a", "b", "c"))
    assert found == [FieldChange("parameters[b]", MISSING, parameter("b"))]


def test_a_removal_from_the_middle_is_one_change():
    found = changes(parameters("a", "b", "c"), parameters("a", "c"))
    assert found == [FieldChange("parameters[b]", parameter("b"), MISSING)]


def test_another_order_is_one_change_of_the_names():
    found = changes(parameters("a", "b"), parameters("b", "a"))
    assert found == [FieldChange("parameters", ["a", "b"], ["b", "a"])]


def test_a_nested_keyed_list_is_found_by_its_name():
    old, new = reservations(("x", "f", 20)), reservations(("x", "f", 30))
    assert changes(old, new) == [
        FieldChange("environments.production.reservations[x].percent", 20, 30)
    ]


def test_a_second_key_field_is_used_where_the_first_does_not_tell_apart():
    old = reservations(("x", "f", 20), ("x", "g", 20))
    new = reservations(("x", "f", 20), ("x", "g", 30))
    assert changes(old, new)[0].path == "environments.production.reservations[x,g].percent"


def test_a_key_with_a_bracket_is_quoted():
    old, new = {"parameters": [parameter("a]", 1)]}, {"parameters": [parameter("a]", 2)]}
    assert changes(old, new)[0].path == 'parameters["a]"].defaultValue'


@pytest.mark.parametrize(
    "items",
    [[parameter("a"), parameter("a")], ["a"], [None], {"a": 1}],
    ids=["named twice", "texts", "null", "object"],
)
def test_a_keyed_list_whose_items_cannot_be_named_changes_as_a_whole(items):
    found = changes({"parameters": items}, {"parameters": []})
    assert found[0].path.startswith("parameters")


def test_a_keyed_list_from_nothing_is_one_change():
    assert changes({}, parameters("a")) == [FieldChange("parameters", MISSING, [parameter("a")])]


def test_a_path_too_long_for_an_index_is_told_by_its_parent():
    old, new = {"a": {"x" * 600: 1, "b": 1}}, {"a": {"x" * 600: 2, "b": 2}}
    assert changes(old, new) == [FieldChange("a", old["a"], new["a"])]


def test_a_label_too_long_for_an_index_is_told_by_its_list():
    old, new = parameters("x" * 600), parameters("a", "x" * 600)
    assert changes(old, new) == [FieldChange("parameters", old["parameters"], new["parameters"])]


def test_of_very_many_changes_the_top_level_fields_are_told():
    old, new = ({"a": dict.fromkeys(map(str, range(MAX_CHANGES)), x), "b": x} for x in (1, 2))
    assert changes(old, new) == [FieldChange("a", old["a"], new["a"]), FieldChange("b", 1, 2)]


def test_of_very_many_top_level_changes_the_record_is_told():
    old, new = (dict.fromkeys(map(str, range(MAX_CHANGES + 1)), x) for x in (1, 2))
    assert changes(old, new) == [FieldChange("", old, new)]


def test_as_many_changes_as_may_be_are_told_one_by_one():
    old, new = ({"a": dict.fromkeys(map(str, range(MAX_CHANGES)), x)} for x in (1, 2))
    assert len(changes(old, new)) == MAX_CHANGES
