"""The door for the vendors' JSON."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from etl.errors import ProtocolError
from etl.json_text import json_text
from etl.providers.launchdarkly import WireProject
from etl.providers.wire import (
    Number,
    Wire,
    clean,
    drift_of,
    epoch_millis,
    fingerprint_with,
    parse,
    redact,
    rfc3339,
)
from tests.unit.builders import (
    FINGERPRINT,
    LD_ENVIRONMENTS,
    LD_PROJECTS,
    PARTITION,
    SDK_KEY,
    STATSIG_LAYERS,
    body,
    environment,
    layer,
    project,
)

KEYS = [
    SDK_KEY,
    "mob-00000000-0000-4000-8000-0000000000bb",
    "api-00000000-0000-4000-8000-0000000000cc",
    "console-aaaaAAAA0000bbbbBBBB1111",
    "secret-aaaaAAAA0000bbbbBBBB1111",
    "console-aaaaAAAAbbbbBBBBccccCCCC",
    "lp_live_01HX9Y6K7EJ4T2AA_aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "lp_test_01HX9Y6K7EJ4T2AA_aaaa-aaaaaaaaaa_aaaaaaa-aaaaaa",
]


def cleaned(value):
    return clean(value, body(value), FINGERPRINT)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1e400}',
        '{"a": -1e400}',
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        '{"a": 1',
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1} {"b": 2}',
        "<html></html>",
        "",
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "[" * 500 + "]" * 500,
        '{"a":' * 500 + "1" + "}" * 500,
        '\f{"a":1}',
        '{"a":1}\v',
    ],
    ids=lambda text: text[:20],
)
def test_a_body_that_is_not_strict_json_is_a_protocol_error(text):
    with pytest.raises(ProtocolError, match="not JSON as documented") as caught:
        parse(text.encode())
    assert not any(word in str(caught.value) for word in ("recursion", "sys.", "codec"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_body_in_another_charset_is_a_protocol_error(encoding):
    with pytest.raises(ProtocolError):
        parse('{"a": "é"}'.encode(encoding))


def test_latin_1_is_a_protocol_error():
    with pytest.raises(ProtocolError):
        parse('{"a": "é"}'.encode("latin-1"))


def test_a_byte_order_mark_is_taken():
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_nesting_as_deep_as_vendors_go_is_taken():
    assert parse(b"[" * 50 + b"]" * 50)


def test_what_is_parsed_is_shallow_enough_to_be_hashed_and_cleaned():
    deepest = next(n for n in range(2000, 0, -1) if _parses(b"[" * n + b'"\\u0000"' + b"]" * n))
    value = parse(b"[" * deepest + b'"\\u0000"' + b"]" * deepest)
    assert json_text(clean(value, b"\\u0000", FINGERPRINT))


def _parses(text):
    try:
        parse(text)
    except ProtocolError:
        return False
    return True


def test_brackets_in_texts_are_no_depth():
    assert parse(body({"a": "[{" * 10_000}))


@pytest.mark.parametrize("text", ["1.0", "1e0", "10e-1", "100E-2"])
def test_a_float_without_a_fraction_becomes_an_integer(text):
    assert type(parse(text.encode())) is int


def test_a_float_with_a_fraction_stays_a_float():
    assert parse(b"0.5") == 0.5


def test_minus_zero_is_zero():
    assert json_text(parse(b"-0.0")) == "0"


@pytest.mark.parametrize("text", ["[%s]", "[ %s]", '{"a":[%s]}'])
def test_numbers_that_are_long_when_written_out_are_refused_when_there_are_very_many(text):
    """Postgres writes them out, and so do we; a body of 8 MiB would take 400."""
    few = parse((text % ",".join(["1.7976931348623157e+308"] * 1000)).encode())
    assert str(few).count(str(int(1.7976931348623157e308))) == 1000
    with pytest.raises(ProtocolError, match="more than 4194304 digits"):
        parse((text % ",".join(["1e+308"] * 20_000)).encode())


def test_the_message_names_the_key_that_stands_twice():
    with pytest.raises(ProtocolError, match="'items' stands twice"):
        parse(b'{"items": [], "items": []}')


@pytest.mark.parametrize("key", KEYS)
def test_the_message_of_a_broken_body_shows_no_key(key):
    with pytest.raises(ProtocolError) as caught:
        parse(f'{{"apiKey": "{key}" oops'.encode())
    assert key[:20] not in str(caught.value)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_cut_at_the_end_of_the_shown_start_is_not_shown_in_part(key):
    with pytest.raises(ProtocolError) as caught:
        parse(f'{{"some padding in front of it": "{"x" * 4} {key}" oops'.encode())
    assert key[:14] not in str(caught.value)


@pytest.mark.parametrize("name", ["apiKey", "mobileKey"])
def test_a_key_in_a_secret_field_is_replaced_by_a_fingerprint(name):
    assert cleaned({name: SDK_KEY})[name] == FINGERPRINT(SDK_KEY)


@pytest.mark.parametrize("text", ["any text at all", "", "sdk-****", "•••", f"of {SDK_KEY}"])
def test_what_is_no_whole_key_is_none(text):
    assert cleaned({"apiKey": text}) == {"apiKey": None}


@pytest.mark.parametrize(
    "inner", [{"value": "plain"}, ["plain"], [{"deep": ["plain"]}]], ids=["object", "list", "deep"]
)
def test_everything_inside_a_secret_field_is_a_secret(inner):
    assert "plain" not in json.dumps(cleaned({"items": [{"apiKey": inner}]}))


def test_an_absent_secret_stays_null():
    assert cleaned({"apiKey": None}) == {"apiKey": None}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "place",
    [
        lambda key: {"description": f"use {key}, please"},
        lambda key: {"a": [{"b": [{"c": key}]}]},
        lambda key: {"a": f"X_{key}"},
        lambda key: {"a": {key: 1}},
        lambda key: {"a": f'{{"inner": "{key}"}}'},
    ],
    ids=["in a sentence", "nested", "after an underscore", "as a name", "in json text"],
)
def test_a_key_in_any_place_is_replaced(key, place):
    assert key not in json.dumps(cleaned(place(key)))


@pytest.mark.parametrize("key", KEYS)
def test_nothing_of_a_key_stays_behind(key):
    assert key[-6:] not in cleaned({"a": f"<{key}>"})["a"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_whose_letters_are_escaped_is_replaced(key):
    text = '{"a": "' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '"}'
    assert key not in json.dumps(clean(parse(text.encode()), text.encode(), FINGERPRINT))


def test_a_secret_field_whose_name_is_escaped_is_replaced():
    text = b'{"api\\u004bey": "plain"}'
    assert clean(parse(text), text, FINGERPRINT) != {"apiKey": "plain"}


@pytest.mark.parametrize(
    "text",
    [
        *("sdk-migration-2024", "api-gateway", "mob-rollout", "lp_homepage_v2", "key"),
        *("console-theme", "console-applicationsettingspage", "console-ApplicationSettings"),
    ],
)
def test_a_name_that_only_begins_like_a_key_stays(text):
    assert cleaned({"apiKey": "x", "a": text})["a"] == text


def test_equal_secrets_have_equal_fingerprints():
    assert cleaned({"apiKey": SDK_KEY})["apiKey"] == cleaned({"a": SDK_KEY})["a"]


def test_other_secrets_have_other_fingerprints():
    assert FINGERPRINT("one") != FINGERPRINT("two")


def test_another_installation_has_other_fingerprints():
    assert fingerprint_with("one")(SDK_KEY) != fingerprint_with("two")(SDK_KEY)


def test_a_secret_that_only_begins_like_a_fingerprint_is_replaced():
    assert FINGERPRINT("fp:my secret") != "fp:my secret"


def test_a_fingerprint_is_its_own_fingerprint():
    assert FINGERPRINT(FINGERPRINT(SDK_KEY)) == FINGERPRINT(SDK_KEY)


def test_a_nul_becomes_its_symbol():
    assert cleaned({"a": "x\x00y"}) == {"a": "x␀y"}


def test_a_nul_in_a_name_becomes_its_symbol():
    assert cleaned({"x\x00": 1}) == {"x␀": 1}


def test_nothing_of_a_secret_with_a_nul_stays():
    assert cleaned({"apiKey": "x\x00"}) == {"apiKey": None}


@pytest.mark.parametrize("surrogate", [chr(0xD800), chr(0xDFFF)], ids=["high", "low"])
def test_a_lone_surrogate_becomes_the_replacement_character(surrogate):
    assert cleaned({"a": surrogate}) == {"a": "�"}


@pytest.mark.parametrize("text", ["😀", "שלום", "e\u0301", "\x1b[31m", "[bold]", "=1+1", "'; --"])
def test_every_other_text_stays_as_it_is(text):
    assert cleaned({"apiKey": "x", "a": text})["a"] == text


def test_a_page_with_nothing_to_clean_comes_back_as_it_is():
    value = {"items": [{"a": 1}]}
    assert clean(value, body(value), FINGERPRINT) is value


@pytest.mark.parametrize("key", KEYS)
def test_redaction_blots_out_keys(key):
    assert redact(f"Key: {key}.") == "Key: [redacted]."


def test_milliseconds_are_read_as_utc():
    assert epoch_millis(1677893118949) == datetime(2023, 3, 4, 1, 25, 18, 949000, UTC)


def test_milliseconds_may_be_a_float():
    assert epoch_millis(1677893118949.0) == epoch_millis(1677893118949)


@pytest.mark.parametrize(
    "value",
    [1677893118, 0, 1, -1, -1677893118949, 1795132800000 * 1000, 2**63, 10**300, 1e300],
    ids=["seconds", "zero", "one", "-1", "negative", "year 58858", "2^63", "10^300", "1e300"],
)
def test_an_implausible_time_is_no_time(value):
    assert epoch_millis(value) is None


@pytest.mark.parametrize("value", ["1677893118949", True, [], {}])
def test_milliseconds_of_another_type_are_a_finding(value):
    with pytest.raises(ValueError, match="epoch milliseconds expected"):
        epoch_millis(value)


def test_no_time_is_no_time():
    assert (epoch_millis(None), rfc3339(None)) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-10T09:14:22Z",
        "2026-04-10t09:14:22z",
        "2026-04-10T09:14:22.000000+00:00",
        "2026-04-10T11:14:22+02:00",
        "2026-04-10T09:14:22",
        "2026-04-10 09:14:22.000Z",
    ],
)
def test_rfc_3339_times_are_read_as_utc(text):
    assert rfc3339(text) == datetime(2026, 4, 10, 9, 14, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_an_implausible_date_is_no_time(text):
    assert rfc3339(text) is None


def test_a_body_may_have_250_000_values():
    fits = parse(b"[" + b",".join([b"0"] * 250_000) + b"]")
    assert len(fits) == 250_000
    with pytest.raises(ProtocolError, match="more than 250000 JSON values"):
        parse(b"[" + b",".join([b"0"] * 250_001) + b"]")


def test_plausible_times_begin_in_2005_and_end_before_2100():
    first = datetime(2005, 1, 1, tzinfo=UTC)
    assert rfc3339("2005-01-01T00:00:00Z") == epoch_millis(first.timestamp() * 1000) == first
    assert rfc3339("2100-01-01T00:00:00Z") is None
    assert rfc3339("2099-12-31T23:59:59Z") == datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("value", ["yesterday", "", "2026-13-01T00:00:00Z", 1677893118949, True])
def test_what_is_no_date_is_a_finding(value):
    with pytest.raises(ValueError, match=r"time|format|month"):
        rfc3339(value)


@pytest.mark.parametrize("value", ["true", 1, None])
def test_wire_models_convert_no_types(value):
    with pytest.raises(ValidationError):
        WireProject.model_validate(project(includeInSnippetByDefault=value))


def test_an_unknown_field_is_drift():
    record = LD_PROJECTS.to_record(project(favourite=True), PARTITION)
    assert record.drift == (("favourite", "added"),)


def test_an_unknown_field_of_a_nested_object_is_drift():
    item = project(defaultClientSideAvailability={"usingMobileKey": True, "usingTea": True})
    record = LD_PROJECTS.to_record(item, PARTITION)
    assert record.drift == (("defaultClientSideAvailability.usingTea", "added"),)


def test_an_unknown_field_in_a_list_is_drift_once():
    parameters = [
        {"name": name, "type": "string", "defaultValue": "", "unit": "s"} for name in ("a", "b")
    ]
    record = STATSIG_LAYERS.to_record(layer(parameters=parameters), PARTITION)
    assert record.drift == (("parameters.unit", "added"),)


@pytest.mark.parametrize(("unknown", "told"), [(49, 50), (50, 50), (60, 50)])
def test_of_an_item_fifty_unknown_fields_are_told(unknown, told):
    inside = {"usingMobileKey": True, "usingTea": True}
    fields = {f"new_{number}": 1 for number in range(unknown)}
    record = LD_PROJECTS.to_record(
        project(defaultClientSideAvailability=inside, **fields), PARTITION
    )
    assert len(record.drift) == told


def test_a_time_that_cannot_be_used_is_drift():
    record = STATSIG_LAYERS.to_record(layer(createdTime=1677893118), PARTITION)
    assert record.drift == (("createdTime", "unusable"),)


def test_known_fields_are_no_drift():
    assert LD_ENVIRONMENTS.to_record(environment(), PARTITION).drift == ()


def test_a_null_time_is_no_drift():
    wire = STATSIG_LAYERS.to_record(layer(createdTime=None), PARTITION)
    assert wire.drift == ()


def test_drift_of_a_model_without_extras_is_empty():
    item = project()
    assert drift_of(WireProject.model_validate(item), item) == ()


class Sized(Wire):
    """An object with a number."""

    size: Number = None


@pytest.mark.parametrize("value", [True, False, "1", [1]])
def test_what_is_no_number_is_taken_for_none(value):
    with pytest.raises(ValidationError, match="valid number"):
        Sized.model_validate({"size": value})
    assert [Sized.model_validate({"size": one}).size for one in (1, 1.5, None)] == [1, 1.5, None]
