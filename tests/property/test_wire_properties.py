"""What holds at the vendors' door for every body."""

import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import ProtocolError
from etl.json_text import json_text, parsed_text
from etl.providers.wire import (
    clean,
    epoch_millis,
    fingerprint_with,
    is_closed,
    parse,
    redact,
    rfc3339,
)
from tests.property.strategies import JSON, KEYS, NAMES, WITH_ODD_NUMBERS

FINGERPRINT = fingerprint_with("a key for tests")
FEW = settings(max_examples=60, deadline=None)
AROUND = st.text(alphabet=" .,:;/<>()[]{}_\"'\\\x00é😀", max_size=4)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=6)


@st.composite
def planted(draw):
    """JSON with one key somewhere in it, and the key."""
    key = draw(KEYS)
    value = draw(AROUND) + key + draw(AROUND)
    for _ in range(draw(st.integers(0, 4))):
        form = draw(st.integers(0, 3))
        if form == 0:
            value = [draw(JSON), value]
        elif form == 1:
            value = {draw(NAMES): value, "other": draw(JSON)}
        elif form == 2 and isinstance(value, str):
            value = {value: 1}
        else:
            value = {"apiKey": value}
    return value, key


def cleaned(value, ascii_only=True):
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    return clean(parse(body), body, FINGERPRINT)


@FEW
@given(JSON)
def test_what_is_written_as_json_is_read_as_it_was(value):
    assert parse(json.dumps(value).encode()) == value


@FEW
@given(JSON)
def test_what_is_read_can_be_written_again(value):
    assert parse(json_text(value).encode()) == value


WRITINGS = st.sampled_from(
    [
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
        orjson.dumps,
        lambda value: orjson.dumps(value) + b"\n",
    ]
)


@FEW
@given(st.lists(JSON | AROUND) | st.dictionaries(AROUND, JSON | AROUND), WRITINGS, st.data())
def test_only_the_whole_of_a_body_is_closed(value, write, data):
    body = write(value)
    assert is_closed(body)
    assert not is_closed(body.rstrip()[: data.draw(st.integers(0, len(body.rstrip()) - 1))])
    assert not is_closed(body + b"]")


@settings(max_examples=300, deadline=None)
@given(WITH_ODD_NUMBERS, WRITINGS)
def test_how_a_value_is_written_does_not_change_what_is_read(value, write):
    spaced = json.dumps([value], separators=(" , ", " : ")).encode()
    try:
        body = b"[" + write(value) + b"]"
    except TypeError:
        return  # orjson writes no integers beyond 64 bits
    assert _exactly(parse(body)) == _exactly(parse(spaced))


@settings(max_examples=300, deadline=None)
@given(WITH_ODD_NUMBERS)
def test_the_text_of_a_parsed_value_has_one_form_however_it_is_made(value):
    parsed = parse(json.dumps([value]).encode())
    assert parsed_text(parsed) == json_text(parsed).encode()


@pytest.mark.parametrize("twice", [b'{"a":1,"a":1}', b'[{"b":{"a":1,"a":1}}]', b'{"":"","":""}'])
def test_a_name_that_stands_twice_is_refused_in_compact_json_too(twice):
    with pytest.raises(ProtocolError, match="stands twice"):
        parse(twice)


def _exactly(value):
    """Told apart: 1, 1.0 and True, and the order of names."""
    return repr(value)


@FEW
@given(st.binary(max_size=30))
def test_any_bytes_are_json_or_a_protocol_error(body):
    try:
        parse(body)
    except ProtocolError:
        return


@FEW
@given(planted())
def test_no_planted_key_stays(case):
    value, key = case
    assert key not in json.dumps(cleaned(value))


@FEW
@given(planted())
def test_no_planted_key_stays_in_a_body_that_is_not_ascii(case):
    value, key = case
    assert key not in json.dumps(cleaned(value, ascii_only=False))


@FEW
@given(planted())
def test_cleaning_twice_is_cleaning_once(case):
    once = cleaned(case[0])
    assert cleaned(once) == once


@FEW
@given(KEYS, AROUND, AROUND)
def test_no_key_stays_in_a_redacted_text(key, before, after):
    assert key not in redact(before + key + after)


@FEW
@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.lists(ANY_TEXT, max_size=3), max_size=3))
def test_what_is_clean_can_be_stored(value):
    stored = json_text(cleaned(value)).encode()
    assert b"\\u0000" not in stored


@FEW
@given(JSON.filter(lambda value: "apiKey" not in json.dumps(value)))
def test_what_holds_nothing_to_clean_stays_as_it_is(value):
    plain = json.loads(json.dumps(value).replace("\\u0000", ""))
    assert cleaned(plain) == plain


@FEW
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_a_plausible_time_or_none(number):
    time = epoch_millis(number)
    assert time is None or 2005 <= time.year < 2100


@FEW
@given(
    st.datetimes(
        datetime(2005, 1, 2),  # noqa: DTZ001  Hypothesis wants naive bounds
        datetime(2099, 12, 30),  # noqa: DTZ001
        timezones=st.timezones(),
    )
)
def test_any_date_is_read_as_the_same_moment(time):
    utc = time.astimezone(UTC)
    assert rfc3339(utc.isoformat()) == utc
