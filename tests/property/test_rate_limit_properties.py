"""For all limits and all histories of requests: no window is ever overrun."""

from hypothesis import given
from hypothesis import strategies as st

from etl.extract.rate_limit import Window, slots, still_counting

windows = st.lists(
    st.builds(Window, st.integers(1, 20), st.floats(0.1, 100)), min_size=1, max_size=3
)
steps = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 8)), max_size=20)


@given(windows, steps)
def test_no_interval_of_a_windows_length_holds_more_grants_than_it_allows(limits, history):
    now = 1_000_000.0
    grants: list[float] = []
    everything: list[float] = []
    for pause, count in history:
        now += pause
        grants = still_counting(grants, limits, now)
        new = slots(grants, limits, count=count, now=now)
        grants, everything = grants + new, everything + new
        now = max(now, new[-1])
    for window in limits:
        for first, after in zip(everything, everything[window.requests :], strict=False):
            assert after - first >= window.seconds


@given(windows, st.lists(st.floats(0, 50), max_size=20), st.integers(1, 10))
def test_slots_are_in_order_and_never_in_the_past(limits, ages, count):
    grants = still_counting([1000 - age for age in ages], limits, 1000.0)
    moments = slots(grants, limits, count=count, now=1000.0)
    assert moments == sorted(moments)
    assert moments[0] >= 1000.0
