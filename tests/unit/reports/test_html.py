"""HTML that is made of values: no text of a value is ever markup."""

from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.formatting import safe
from etl.reports.html import Html, join, tag

HOSTILE = (
    "<script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "&lt;script&gt;",
    "]]><![CDATA[",
    "-->",
    "\x1b[31mred\x00",
    "\u202egnp.exe\u202c",
)


class Seen(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_a_text(text: str) -> None:
    seen = Seen(tag("p", text, title=text))
    assert seen.tags == ["p"]
    assert seen.attributes == [("title", safe(text))]
    assert seen.text == safe(text)


@given(st.text())
def test_every_text_is_a_text(text: str) -> None:
    made = join(text)
    assert not {"<", ">", '"', "'"} & set(made)
    assert unescape(made) == safe(text)


def test_html_is_put_in_as_it_is() -> None:
    assert tag("p", tag("b", "a & b"), " and ", 3) == "<p><b>a &amp; b</b> and 3</p>"


def test_lists_are_joined_and_nothing_is_nothing() -> None:
    assert tag("p", [None, ["a", [Html("<br>")]]]) == "<p>a<br></p>"


def test_attributes_may_be_left_out_or_have_no_value() -> None:
    assert tag("p", class_="a b", data_label="x", title=None, hidden=True, open=False) == (
        '<p class="a b" data-label="x" hidden></p>'
    )
