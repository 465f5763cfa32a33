"""A page that an earlier walk brought is known by its request and its bytes, nothing less."""

from etl.extract.list_content import ListContent
from etl.extract.page_cache import PageCache
from etl.providers.kit import Page, Request
from etl.transform.classify import Before

FIRST, SECOND = Request("/projects", (("limit", "2"),)), Request("/projects", (("cursor", "2"),))
MARK = FIRST, b"digest"
PAGE = Page(items=({"id": "a"}, {"id": "b"}), next=SECOND, total=3, mark=MARK)
OLD, NEW = f"1:{'0' * 32}", f"1:{'1' * 32}"


def test_a_page_is_known_with_its_ids_its_total_and_what_follows_it() -> None:
    recall = PageCache(ListContent())
    recall.note(PAGE, ["a", "b"])
    assert recall.page(MARK) == Page(items=(), next=SECOND, total=3, ids=["a", "b"])


def test_another_request_or_other_bytes_are_another_page() -> None:
    recall = PageCache(ListContent())
    recall.note(PAGE, ["a", "b"])
    assert recall.page((SECOND, b"digest")) is None
    assert recall.page((FIRST, b"another")) is None


def test_a_page_is_read_again_once_other_values_of_its_records_are_staged() -> None:
    """They came with another page, as a record moved; the last that came is what counts."""
    listed = ListContent()
    listed.put("", "a", Before(OLD, fresh=True, created=None))
    recall = PageCache(listed)
    recall.note(PAGE, ["a", "b"])
    assert recall.page(MARK) is not None
    listed.put("", "a", Before(NEW, fresh=True, created=None))
    assert recall.page(MARK) is None
    listed.put("", "a", Before(OLD, fresh=True, created=None))
    assert recall.page(MARK) is not None
    listed.put("", "b", Before(NEW, fresh=False, created=None))
    assert recall.page(MARK) is None
