"""What a URL may ask: every parameter of every page is read by one rule, whatever stands in it."""

import json
import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import BOTH, Databases
from tests.support.console import Answer, ask, console_of, tell_briefly, url_of
from tests.support.internals.database import open_reader
from tests.support.internals.web import CHANGES, LOGIN, PAGES, Guard

ROUTES = {path: page.parameters for path, (_, page) in PAGES.items()} | {
    "/changes.csv": CHANGES,
    "/changes.atom": CHANGES,
    "/login": LOGIN,
}
ASKED = [(path, name) for path, names in ROUTES.items() for name in (*names, "as_of")]
HOSTILE = (  # neighbours are alike: each parameter meets every third
    *(b"%00", b"a%00b", b"%", b"%zz", b"%e", b"%ff", b"%ED%A0%80", b"\xff", b"%C3"),
    *(b"%F5%80%80%80", b"0001-01-01T00:00:00%2B23:59", b"9999-12-31T23:59:59-23:59"),
    *(b"0001-01-01", b"9999-12-31", b"2026-02-30", b"1e999d", b"9" * 400 + b"d", b"99999999w"),
    *(b"[" * 5000, b"{" * 5000, b'["a","b",1]', b'["a\\u0000","b",1]', b'["\\ud800","b",1]'),
    *(b'["a","b",1e400]', b"[1,2,3]", b"null", b'["a","b",' + b"9" * 5000 + b"]", b"9" * 5000),
    *(b"0" * 5000, b"-1", b"0", b"1.5", b"9223372036854775807", b"9223372036854775808"),
    *(b"%D9%A1", b"%E2%91%A0", b"%F0%9F%92%A9", b"'", b'"', b"%27%3B--", b"%25", b"_", b"\\"),
    *(b"provider:", b"provider:nobody", b"nothing", b"projects", b"ok", b"open", b"7d", b"1"),
    *(b"x" * 300, b"x" * 9000, b"%20", b"", b"%0A", b"%E2%80%AE", b"None", b"true"),
)


@pytest.fixture(scope="module", params=BOTH)
def console(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Guard]:
    """The console over a database with a little of everything."""
    with databases(request.param) as engine:
        tell_briefly(engine)
        reader = open_reader(url_of(engine))
        yield console_of(reader)
        reader.dispose()


def target(path: str, name: str, value: bytes) -> bytes:
    """The request line's part that gives a parameter that value; the rest of the path is real."""
    real = {"stream": b"layers", "id": b"1", "run": b"1"}
    parts = []
    for part in path.encode().split(b"/"):
        inner = part.decode().strip("{}")
        is_name = part.startswith(b"{")
        parts.append(value if is_name and inner == name else real[inner] if is_name else part)
    found = b"/".join(parts)
    return found if f"{{{name}}}" in path else found + b"?" + name.encode() + b"=" + value


def reason(answer: Answer) -> str:
    """What a refusal says."""
    said = re.search(r'class="notice bad">(.*?)</p>', answer.body, re.DOTALL)
    return unescape(said[1]) if said else answer.body.strip()


def check(answer: Answer, asked: bytes) -> None:
    """Whatever is asked: an answer, or a refusal that says why. Never a fault of ours."""
    assert answer.status in (200, 307, 400, 404), asked
    if answer.status in (400, 404):
        assert reason(answer), asked


@pytest.mark.parametrize("path", ROUTES)
def test_no_value_of_any_parameter_is_a_fault_of_ours(console: Guard, path: str) -> None:
    for number, (where, name) in enumerate(ASKED):
        for value in HOSTILE[number % 3 :: 3] if where == path else ():
            asked = target(path, name, value)
            check(ask(console, asked), asked)


def encoded(text: str) -> bytes:
    """A text as a form sends it; what is no Unicode too."""
    return quote(text.encode("utf-8", "surrogatepass")).encode()


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(ASKED),
    st.one_of(
        st.text(max_size=60).map(
            lambda text: quote(text.encode("utf-8", "surrogatepass")).encode()
        ),
        st.binary(max_size=40).map(lambda raw: raw.replace(b"?", b"").replace(b"#", b"")),
        st.datetimes().map(lambda moment: quote(moment.isoformat()).encode()),
        st.integers().map(lambda number: str(number).encode()),
        st.from_regex(r"\A-?[0-9]{1,30}(\.[0-9]+)?(s|min|h|d|w)\Z", fullmatch=True).map(
            lambda age: quote(age).encode()
        ),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=4), st.lists, max_leaves=5
        ).map(lambda value: encoded(json.dumps(value))),
    ),
    st.binary(max_size=20).filter(lambda raw: b"#" not in raw),
)
def test_no_url_is_a_fault_of_ours(
    console: Guard, asked: tuple[str, str], value: bytes, more: bytes
) -> None:
    path, name = asked
    one = target(path, name, value)
    check(ask(console, one), one)
    two = one + (b"&" if b"?" in one else b"?") + more
    check(ask(console, two), two)


@pytest.mark.parametrize(("length", "status"), [(8192, 404), (8193, 400)])
def test_a_path_may_have_eight_kilobytes(console: Guard, length: int, status: int) -> None:
    assert ask(console, b"/".ljust(length, b"x")).status == status


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (b"/?as_of=0001-01-01T00:00:00%2B23:59", "as_of '0001-01-01T00:00:00+23:59': write 7d"),
        (b"/estate?after=" + b"[" * 5000, "after: not the end of a page"),
        (b"/runs/" + b"9" * 5000, "is no number of a record"),
        (b"/estate?q=a%00", "a NUL"),
        (b"/records/layers/1%00", "a NUL"),
        (b"/static/a%00b", "a NUL"),
        (b"/estate?q=%ED%A0%80", "not percent-encoded UTF-8"),
        (b"/est%ffate", "not percent-encoded UTF-8"),
        (b"/runs/?\x80", "not percent-encoded UTF-8"),
        (b"/changes?q=100%", "write %25 for it"),
        (b"/changes?q=" + b"x" * 201, "q: longer than 200 characters"),
        (b"/changes?q=" + b"x" * 9000, "the address is too long"),
        (b"/" + b"x" * 9000, "the address is too long"),
        (b"/changes?stream=nothing", "there are projects, environments, layers"),
        (b"/changes?operation=made", "there are created, updated, deleted, restored"),
        (b"/changes?source=nobody", "there are ld, ly"),
        (b"/changes?source=provider:layers", "there are ld, ly"),
        (b"/changes.csv?source=nobody", "there are ld, ly"),
        (b"/changes.atom?operation=made", "there are created"),
        (b"/runs?status=good", "there are ok, partial"),
        (b"/runs?source=nobody", "there are ld, ly"),
        (b"/rejects?source=nobody", "there are ld, ly"),
        (b"/drift?kind=nothing", "there are added"),
        (b"/estate?source=nobody", "there are ld, ly, provider:launchdarkly, provider:layers"),
        (b"/estate?source=ly&project=1", "source: the project 1 is one of ld"),
        (b"/capacity?source=provider:nobody", "there are ld, ly"),
        (b"/capacity?level=90", "there are , 80, 101"),
        (b"/runs?sorce=ld", "no parameter 'sorce'; this page has: as_of, before, source, status"),
        (b"/runs/1?run=2", "no parameter 'run'; this page has: as_of"),
        (b"/changes.csv?before=5", "no parameter 'before'"),
        (b"/runs?status=ok&status=failed", "'status' is given twice"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(
    console: Guard, asked: bytes, said: str
) -> None:
    answer = ask(console, asked)
    assert answer.status == 400
    assert said in reason(answer)


def test_changes_of_a_run_that_is_not_there_are_not_found(console: Guard) -> None:
    for path in (b"/changes", b"/changes.csv", b"/changes.atom"):
        assert ask(console, path + b"?run=999").status == 404


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (b"/changes?since=3d", '<option value="3d" selected>'),
        (b"/changes?since=2026-11-01", '<option value="2026-11-01" selected>'),
        (b"/changes?since=7d", '<option value="7d" selected>the last 7 days'),
        (b"/estate?source=provider:layers", '<option value="provider:layers" selected>'),
        (b"/capacity?source=provider:layers", '<option value="provider:layers" selected>'),
        (b"/changes?run=1", "Only changes of"),
        (b"/capacity?environment=test", 'value="test"'),
    ],
)
def test_the_form_shows_what_filters(console: Guard, asked: bytes, shown: str) -> None:
    answer = ask(console, asked)
    assert answer.status == 200
    assert shown in answer.body


def test_a_page_that_says_not_found_leads_nowhere_else(console: Guard) -> None:
    answer = ask(console, b"//evil.example/x?as_of=2026-11-02")
    assert answer.status == 404
    assert '="//' not in answer.body
