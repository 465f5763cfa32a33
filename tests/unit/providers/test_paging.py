"""Where the pages go on, and where they end."""

import pytest

from etl.errors import ProtocolError
from etl.providers.kit import Request
from etl.providers.paging import read_cursor, read_linked, read_numbered, read_object

FIRST = Request("/api/v2/projects", (("limit", "1"), ("offset", "0")))
NUMBERED = Request("/console/v1/layers", (("limit", "100"), ("page", "1"), ("tags", "a")))
CURSOR = Request("/v1/projects", (("limit", "200"), ("status", "active")))


def linked(next_link=None, items=(1,), **fields):
    links = {"self": {"href": "/x"}} | ({} if next_link is None else {"next": next_link})
    return {"items": list(items), "_links": links, **fields}


def numbered(next_page, data=(1,), **fields):
    return {"data": list(data), "pagination": {"nextPage": next_page, **fields}}


def test_the_next_link_is_followed_as_it_is():
    page = read_linked(linked({"href": "/api/v2/projects?limit=1&offset=1"}), FIRST)
    assert page.next == Request("/api/v2/projects?limit=1&offset=1", None)


def test_no_next_link_is_the_end():
    assert read_linked(linked(), FIRST).next is None


def test_a_null_next_link_is_the_end():
    assert read_linked({"items": [], "_links": {"next": None}}, FIRST).next is None


@pytest.mark.parametrize("links", [{}, {"_links": None}, {"_links": {}}])
def test_no_links_are_the_end(links):
    assert read_linked({"items": [1], **links}, FIRST).next is None


@pytest.mark.parametrize("link", [{}, {"href": None}, {"href": 5}, {"href": ""}, "/x", [], 5])
def test_a_next_link_that_leads_nowhere_is_not_taken_for_the_end(link):
    with pytest.raises(ProtocolError, match="next"):
        read_linked(linked(link), FIRST)


def test_links_of_another_type_are_a_protocol_error():
    with pytest.raises(ProtocolError, match="_links"):
        read_linked({"items": [], "_links": ["next"]}, FIRST)


def test_an_empty_page_with_a_next_link_goes_on():
    assert read_linked(linked({"href": "/y"}, items=()), FIRST).next == Request("/y")


@pytest.mark.parametrize(
    "total", [None, "", "1.5", "-1", "1e3", "²", "9" * 30, 1.5, True, -1, [1], {}]
)
def test_a_total_that_is_no_count_is_no_total(total):
    assert read_linked(linked(totalCount=total), FIRST).total is None


def test_a_total_that_is_sent_as_text_is_a_total():
    assert read_linked(linked(totalCount="12"), FIRST).total == 12


def test_a_total_of_zero_is_a_total():
    assert read_linked(linked(totalCount=0), FIRST).total == 0


def test_a_missing_total_is_no_total():
    assert read_linked(linked(), FIRST).total is None


@pytest.mark.parametrize("items", [{}, {"items": None}, {"items": {}}, {"items": "x"}])
@pytest.mark.parametrize("read", [read_linked, read_cursor])
def test_a_missing_list_is_not_an_empty_one(read, items):
    with pytest.raises(ProtocolError, match="no list 'items'"):
        read(items, FIRST)


def test_an_error_with_status_200_is_not_an_empty_page():
    with pytest.raises(ProtocolError, match="no list 'data'"):
        read_numbered({"error": "x"}, NUMBERED)


@pytest.mark.parametrize(
    "form",
    [
        "/console/v1/layers?page=2&limit=3",
        "statsigapi.net/console/v1/layers?page=2&limit=3",
        "https://elsewhere.example/console/v1/layers?page=2",
        "?page=2&limit=5",
        "/console/v1/metrics/list?page=2&limit=1",
        "/console/v1/layers?page=2",
        "/console/v1/layers?page=7 or 8",
        2,
        True,
    ],
)
def test_any_next_page_only_says_that_there_is_one(form):
    page = read_numbered(numbered(form), NUMBERED)
    assert page.next == Request(
        "/console/v1/layers", (("limit", "100"), ("tags", "a"), ("page", "2"))
    )


@pytest.mark.parametrize("form", [None, "", False])
def test_no_next_page_is_the_end(form):
    assert read_numbered(numbered(form), NUMBERED).next is None


def test_a_missing_next_page_is_the_end():
    assert read_numbered({"data": [1], "pagination": {}}, NUMBERED).next is None


def test_a_short_page_with_a_next_page_goes_on():
    assert read_numbered(numbered("x", data=[1]), NUMBERED).next is not None


def test_an_empty_statsig_page_is_the_end():
    assert read_numbered(numbered("x", data=[]), NUMBERED).next is None


def test_repeated_tags_stay_repeated_on_the_next_page():
    request = Request("/x", (("page", "1"), ("tags", "a"), ("tags", "b")))
    page = read_numbered(numbered("x"), request)
    assert page.next == Request("/x", (("tags", "a"), ("tags", "b"), ("page", "2")))


def test_the_page_after_the_ninth_is_the_tenth():
    page = read_numbered(numbered("x"), Request("/x", (("page", "9"),)))
    assert page.next == Request("/x", (("page", "10"),))


def test_the_total_of_a_numbered_page_is_total_items():
    assert read_numbered(numbered(None, totalItems=1189), NUMBERED).total == 1189


@pytest.mark.parametrize("pagination", [None, [], "x", 1])
def test_a_missing_pagination_is_not_the_end(pagination):
    with pytest.raises(ProtocolError, match="pagination"):
        read_numbered({"data": [], "pagination": pagination}, NUMBERED)


def test_a_cursor_is_added_to_the_request():
    page = read_cursor({"items": [], "nextCursor": "a=="}, CURSOR)
    assert page.next == Request(
        "/v1/projects", (("limit", "200"), ("status", "active"), ("cursor", "a=="))
    )


def test_a_new_cursor_takes_the_place_of_the_old_one():
    page = read_cursor({"items": [], "nextCursor": "b"}, Request("/x", (("cursor", "a"),)))
    assert page.next == Request("/x", (("cursor", "b"),))


@pytest.mark.parametrize("end", [{}, {"nextCursor": None}, {"nextCursor": ""}])
def test_no_cursor_is_the_end(end):
    assert read_cursor({"items": [1], **end}, CURSOR).next is None


@pytest.mark.parametrize("cursor", [5, True, {}, []])
def test_a_cursor_of_another_type_is_a_protocol_error(cursor):
    with pytest.raises(ProtocolError, match="nextCursor"):
        read_cursor({"items": [], "nextCursor": cursor}, CURSOR)


def test_an_object_is_a_page_of_one():
    assert read_object({"id": "x"}, FIRST).items == [{"id": "x"}]


@pytest.mark.parametrize("body", [[], "x", None, 5])
@pytest.mark.parametrize("read", [read_linked, read_numbered, read_cursor, read_object])
def test_a_body_that_is_no_object_is_a_protocol_error(read, body):
    with pytest.raises(ProtocolError):
        read(body, FIRST)
