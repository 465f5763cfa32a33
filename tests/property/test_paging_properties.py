"""Walks end, and bring every item, for every server that ends."""

import functools
import operator

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import ProtocolError
from etl.providers.kit import Request
from etl.providers.paging import read_cursor, read_linked, read_numbered
from tests.property.strategies import OBJECTS

FEW = settings(max_examples=60, deadline=None)
SIZES = st.lists(st.integers(0, 3), min_size=1, max_size=8)
FILLED = st.lists(st.integers(1, 3), min_size=1, max_size=8)
FORMS = st.sampled_from(["/x?page=2", "?page=2", "x.example/y", "/wrong", 2, True])


def pages_of(sizes):
    """Pages of these sizes, items numbered through."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def walked(read, first, answer, most=20):
    """Items met, in order; stops by itself or fails."""
    items, request, asked = [], first, 0
    while request is not None:
        asked += 1
        assert asked <= most, "the walk does not end"
        page = read(answer(request), request)
        items += page.items
        request = page.next
    return items


@FEW
@given(SIZES)
def test_a_walk_along_links_brings_every_item_and_ends(sizes):
    pages = pages_of(sizes)

    def answer(request):
        place = int(request.path.rpartition("=")[2])
        following = {"next": {"href": f"/x?offset={place + 1}"}} if place + 1 < len(pages) else {}
        return {"items": pages[place], "_links": following}

    assert walked(read_linked, Request("/x?offset=0"), answer) == functools.reduce(
        operator.iadd, pages, []
    )


@FEW
@given(FILLED, FORMS)
def test_a_walk_by_numbers_brings_every_item_and_ends(sizes, form):
    pages = pages_of(sizes)

    def answer(request):
        number = int(dict(request.params)["page"])
        following = form if number < len(pages) else None
        return {"data": pages[number - 1], "pagination": {"nextPage": following}}

    first = Request("/x", (("limit", "3"), ("page", "1")))
    assert walked(read_numbered, first, answer) == functools.reduce(operator.iadd, pages, [])


@FEW
@given(FILLED, FORMS)
def test_a_walk_by_numbers_ends_when_the_server_always_names_a_next_page(sizes, form):
    pages = pages_of(sizes)

    def answer(request):
        number = int(dict(request.params)["page"])
        data = pages[number - 1] if number <= len(pages) else []
        return {"data": data, "pagination": {"nextPage": form}}

    assert walked(read_numbered, Request("/x", (("page", "1"),)), answer) == functools.reduce(
        operator.iadd, pages, []
    )


@FEW
@given(SIZES, st.text(min_size=1, max_size=3))
def test_a_walk_by_cursors_brings_every_item_and_ends(sizes, salt):
    pages = pages_of(sizes)
    cursors = [f"{salt}{place}" for place in range(len(pages))]

    def answer(request):
        place = cursors.index(dict(request.params).get("cursor", cursors[0]))
        following = {"nextCursor": cursors[place + 1]} if place + 1 < len(pages) else {}
        return {"items": pages[place], **following}

    first = Request("/x", (("limit", "3"),))
    assert walked(read_cursor, first, answer) == functools.reduce(operator.iadd, pages, [])


@FEW
@given(st.sampled_from([read_linked, read_numbered, read_cursor]), OBJECTS)
def test_any_object_is_a_page_or_a_protocol_error(read, body):
    try:
        page = read({"items": [], "data": [], "_links": body, "pagination": body, **body}, _FIRST)
    except ProtocolError:
        return
    assert page.total is None or page.total >= 0


_FIRST = Request("/x", (("page", "1"),))
