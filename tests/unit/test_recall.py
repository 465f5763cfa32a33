"""A page that an earlier walk brought is known by its request and its bytes, nothing less."""

from etl.load import Before
from etl.recall import Recall
from etl.stream import Page, Request

FIRST, SECOND = Request("/projects", (("limit", "2"),)), Request("/projects", (("cursor", "2"),))
MARK = FIRST, b"digest"
PAGE = Page(items=({"id": "a"}, {"id": "b"}), next=SECOND, total=3, mark=MARK)


def test_a_page_is_known_with_its_ids_its_total_and_what_follows_it() -> None:
    recall = Recall({})
    recall.note(PAGE, ["a", "b"])
    assert recall.page(MARK) == Page(items=(), next=SECOND, total=3, ids=["a", "b"])


def test_another_request_or_other_bytes_are_another_page() -> None:
    recall = Recall({})
    recall.note(PAGE, ["a", "b"])
    assert recall.page((SECOND, b"digest")) is None
    assert recall.page((FIRST, b"another")) is None


def test_a_page_is_read_again_once_other_values_of_its_records_are_staged() -> None:
    """They came with another page, as a record moved; the last that came is what counts."""
    staged = {"a": Before("1:old", fresh=True, created_at=None)}
    recall = Recall(staged)
    recall.note(PAGE, ["a", "b"])
    assert recall.page(MARK) is not None
    staged["a"] = Before("1:new", fresh=True, created_at=None)
    assert recall.page(MARK) is None
    staged["a"] = Before("1:old", fresh=True, created_at=None)
    staged["b"] = Before("1:new", fresh=False, created_at=None)
    assert recall.page(MARK) is None
