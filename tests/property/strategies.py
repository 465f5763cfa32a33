"""Random JSON, and random items of the vendors. Small, so that the folder runs in seconds."""

from hypothesis import strategies as st

INTEGERS = st.integers(-(2**63), 2**63)
FRACTIONS = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda number: not number.is_integer())
SCALARS = st.none() | st.booleans() | INTEGERS | FRACTIONS | st.text(max_size=8)
NAMES = st.text(max_size=4) | st.sampled_from(["a", "b", "apiKey", "parameters", "tags", "a.b"])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=5)
ODD_NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e-3, 1e-3),
    st.integers(-9999, 9999).map(float),
    st.builds(lambda digits, power: digits * 10.0**power, st.integers(1, 999), st.integers(-9, 30)),
    st.integers(-(10**40), 10**40),
)
WITH_ODD_NUMBERS = st.recursive(
    ODD_NUMBERS | SCALARS | st.sampled_from(["1.0", "2e5", "e+1", "-0.0,", 'a"]0.00001']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
TAGS = st.lists(st.text(max_size=5), max_size=5)
PARAMETERS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.text(max_size=3),
            "type": st.sampled_from(["string", "number"]),
            "defaultValue": JSON,
        }
    ),
    max_size=4,
    unique_by=lambda parameter: str(parameter["name"]),
)
RESERVATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "experimentKey": st.sampled_from("abc"),
            "flagKey": st.sampled_from("xy"),
            "reservationPercent": st.integers(0, 100),
        }
    ),
    max_size=4,
    unique_by=lambda one: (one["experimentKey"], one["flagKey"]),
)
KEYS = st.one_of(
    st.builds("{}-{}".format, st.sampled_from(["sdk", "mob", "api"]), st.uuids().map(str)),
    # of random letters and digits, fewer than one key in 30 million has neither capital nor digit
    st.from_regex(r"(console|secret)-[A-Za-z0-9]{20,40}", fullmatch=True).filter(
        lambda key: not key.rpartition("-")[2].islower() or any(map(str.isdigit, key))
    ),
    st.from_regex(r"lp_(live|test)_[A-Za-z0-9]{16}_[A-Za-z0-9_-]{43}", fullmatch=True),
)
