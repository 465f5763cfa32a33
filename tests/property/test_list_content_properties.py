"""What the lists of a stream brought, in few bytes a record, is what sets would hold."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from etl.extract.list_content import ListContent
from etl.transform.classify import Before

MOST = 30  # bytes of an id, and again of what is staged under it
LISTS, IDS = st.sampled_from(["", "a", "b"]), st.sampled_from([*"abcdefgh", "é", "\U0001f600"])
BEFORES = st.builds(
    Before,
    st.integers(0, 3).map(lambda number: f"1:{number:032x}"),
    st.booleans(),
    st.none() | st.integers(0, 2).map(float),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), LISTS, st.lists(IDS, max_size=5, unique=True)),
        st.tuples(st.just("read on"), LISTS, st.lists(IDS, max_size=5, unique=True)),
        st.tuples(st.just("stage"), LISTS, st.tuples(IDS, BEFORES)),
        st.tuples(st.just("forget"), LISTS, st.none()),
    ),
    max_size=40,
)


@given(STEPS)
def test_it_holds_what_sets_and_mappings_would(steps: Sequence[tuple[str, str, Any]]) -> None:
    listed, reading = ListContent(), {"": 0, "a": 0, "b": 0}
    met: dict[str, set[str]] = defaultdict(set)
    staged: dict[str, dict[str, Before]] = defaultdict(dict)
    for what, parent_id, more in steps:
        if what == "stage":
            listed.put(parent_id, *more)
            staged[parent_id] |= dict([more])
        elif what == "forget":
            listed.forget(parent_id)
            met[parent_id], staged[parent_id] = set(), {}
        else:
            if what == "read" or not reading[parent_id]:
                reading[parent_id], met[parent_id] = listed.new_reading(), set()
            new = listed.meet(parent_id, reading[parent_id], more)
            assert new == [one for one in more if one not in met[parent_id]]
            met[parent_id].update(more)
        for one in reading:
            assert listed.before(one, "abcdefgh") == {
                id_: before for id_, before in staged[one].items() if id_ in "abcdefgh"
            }


def test_a_state_tells_whether_anything_else_is_staged() -> None:
    listed = ListContent()
    nothing = listed.state("a", "xy")
    listed.put("b", "x", Before(f"1:{1:032x}", fresh=True, created=None))
    assert listed.state("a", "xy") == nothing
    states = {nothing}
    for before in (
        Before(f"1:{1:032x}", fresh=True, created=None),
        Before(f"1:{2:032x}", fresh=True, created=None),
        Before(f"1:{1:032x}", fresh=False, created=None),
        Before(f"1:{1:032x}", fresh=False, created=1.0),
    ):
        listed.put("a", "y", before)
        states.add(listed.state("a", "xy"))
    assert len(states) == 5


def test_many_records_take_few_bytes_and_each_is_found() -> None:
    listed, many = ListContent(), [f"record-{number}" for number in range(50_000)]
    reading = listed.new_reading()
    assert listed.meet("", reading, many) == many
    assert listed.meet("", reading, many) == []
    assert len(listed.meet("", listed.new_reading(), many)) == len(many)
    assert size(listed) < MOST * len(many)
    for number, external_id in enumerate(many):
        listed.put("", external_id, Before(f"1:{number:032x}", fresh=True, created=None))
    assert size(listed) < 2 * MOST * len(many)
    found = listed.before("", many)
    assert [one.content_hash for one in found.values()] == [f"1:{n:032x}" for n in range(len(many))]


def size(listed: ListContent) -> int:
    """The bytes that it holds."""
    return sum(sys.getsizeof(getattr(listed, name)) for name in ListContent.__slots__)
