"""What holds for every content: hashes and field changes."""

import copy
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.json_text import json_text
from etl.providers import PROVIDERS
from etl.transform.canonical import content_of, hash_of
from etl.transform.diff import MISSING, field_changes
from tests.property.strategies import JSON, NAMES, OBJECTS, PARAMETERS, RESERVATIONS, TAGS

PROJECTS = PROVIDERS["launchdarkly"].stream("projects")
LAYERS = PROVIDERS["launchdarkly"].stream("layers")
STATSIG = PROVIDERS["statsig"].stream("layers")
KEYED = {**STATSIG.list_keys, **LAYERS.list_keys}
FEW = settings(max_examples=60, deadline=None)
STEP = re.compile(r"\.?(\"(?:[^\"\\]|\\.)*\"|[^\s.\[\]\"']+)|\[(\"(?:[^\"\\]|\\.)*\"|[^\]\"]*)\]")


def digest(item, stream):
    return hash_of(content_of(item, stream))


def shuffled(value, data):
    """The same value with the fields of every object in another order."""
    if isinstance(value, dict):
        names = data.draw(st.permutations(list(value)))
        return {name: shuffled(value[name], data) for name in names}
    return [shuffled(inner, data) for inner in value] if isinstance(value, list) else value


def states(keyed_lists):
    """Contents as two runs may see them: half the fields in common."""
    return st.fixed_dictionaries(
        {}, optional={"a": JSON, "b": OBJECTS, "c": st.dictionaries(NAMES, OBJECTS), **keyed_lists}
    )


PLAIN = states({"tags": TAGS})
WITH_KEYED = states(
    {
        "parameters": PARAMETERS,
        "environments": st.dictionaries(
            st.sampled_from(["production", "test"]),
            st.fixed_dictionaries({"reservations": RESERVATIONS}),
        ),
    }
)


@FEW
@given(OBJECTS, st.data())
def test_the_order_of_fields_does_not_change_a_hash(item, data):
    assert digest(shuffled(item, data), PROJECTS) == digest(item, PROJECTS)


@FEW
@given(OBJECTS, TAGS, st.data())
def test_the_order_of_a_set_does_not_change_a_hash(item, tags, data):
    other = data.draw(st.permutations(tags))
    assert digest({**item, "tags": other}, PROJECTS) == digest({**item, "tags": tags}, PROJECTS)


@FEW
@given(RESERVATIONS, st.data())
def test_the_order_of_a_set_of_objects_does_not_change_a_hash(reservations, data):
    one, other = (
        {"environments": {"production": {"reservations": held}}}
        for held in (reservations, data.draw(st.permutations(reservations)))
    )
    assert digest(shuffled(other, data), LAYERS) == digest(one, LAYERS)


@FEW
@given(OBJECTS, JSON, JSON)
def test_volatile_fields_do_not_change_a_hash(item, links, access):
    assert digest({**item, "_links": links, "_access": access}, PROJECTS) == digest(item, PROJECTS)


@FEW
@given(PLAIN, PLAIN)
def test_hashes_are_equal_only_for_equal_contents(one, other):
    same = json_text(content_of(one, STATSIG)) == json_text(content_of(other, STATSIG))
    assert (digest(one, STATSIG) == digest(other, STATSIG)) is same


@FEW
@given(WITH_KEYED, WITH_KEYED)
def test_there_are_changes_only_between_different_contents(old, new):
    # the order of reservations is a set's, so they stand sorted in a content
    old, new = content_of(old, LAYERS), content_of(new, LAYERS)
    assert (field_changes(old, new, KEYED) == []) is (json_text(old) == json_text(new))


@FEW
@given(WITH_KEYED)
def test_there_are_no_changes_to_itself(value):
    assert field_changes(value, copy.deepcopy(value), KEYED) == []


@FEW
@given(WITH_KEYED, WITH_KEYED)
def test_no_path_stands_twice(old, new):
    paths = [change.path for change in field_changes(old, new, KEYED)]
    assert len(set(paths)) == len(paths)


@FEW
@given(PLAIN, PLAIN)
def test_the_changes_lead_from_the_old_content_to_the_new_one(old, new):
    assert json_text(applied(old, field_changes(old, new, KEYED))) == json_text(new)


@FEW
@given(WITH_KEYED, WITH_KEYED)
def test_the_changes_lead_to_the_same_items_of_keyed_lists(old, new):
    # where an item was put in between is not told, or one insertion would be a change of all
    found = applied(old, field_changes(old, new, KEYED))
    assert json_text(without_order(found)) == json_text(without_order(new))


@FEW
@given(PARAMETERS, st.data())
def test_another_order_of_a_keyed_list_leads_to_it(parameters, data):
    old, new = (
        {"parameters": held} for held in (parameters, data.draw(st.permutations(parameters)))
    )
    assert applied(old, field_changes(old, new, KEYED)) == new


def without_order(value, name=""):
    if isinstance(value, dict):
        return {key: without_order(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        inner = [without_order(one) for one in value]
        return sorted(inner, key=json_text) if name in KEYED else inner
    return value


def applied(old, changes):
    """The old value after its changes; what the reader of a history would do."""
    value = copy.deepcopy(old)
    # a change of an order names the items after it, so the items come first
    for change in sorted(changes, key=lambda change: -len(change.path)):
        steps = [
            (_read(field), False) if field else (_read(label), True)
            for field, label in STEP.findall(change.path)
        ] or [("", True)]
        holder = value
        for step in steps[:-1]:
            holder = holder[_place(holder, step)]
        _change(holder, steps[-1], change)
    return value


def _read(text):
    return json.loads(text) if text.startswith('"') else text


def _place(holder, step):
    name, labelled = step
    return next(n for n, item in enumerate(holder) if _is(item, name)) if labelled else name


def _is(item, label):
    names = [str(item.get("name")), str(item.get("experimentKey"))]
    return label in (*names, f"{names[1]},{item.get('flagKey')}")


def _change(holder, step, change):
    name, labelled = step
    if change.old is MISSING:
        if labelled:
            holder.append(change.new)
        else:
            holder[name] = change.new
        return
    place = _place(holder, step)
    if change.new is MISSING:
        del holder[place]
    elif json_text(holder[place]) != json_text(change.old):
        order = [n for label in change.new for n in holder[place] if _is(n, label)]
        holder[place] = order
    else:
        holder[place] = change.new
