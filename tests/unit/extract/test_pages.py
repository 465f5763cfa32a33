"""Answers that are fetched ahead: each once, none after the end, and how large a single one is."""

import threading
from collections import Counter

import pytest

from etl.errors import ProtocolError
from etl.extract.pages import MAX_SINGLE, PageReader, fetched, single
from etl.providers.kit import Request, Response

MEGABYTE = b" " * 2**20


def answer(body: bytes) -> Response:
    return Response(status=200, headers={}, body=body, url="")


def test_each_answer_is_fetched_once_however_large_they_are_together() -> None:
    asked: Counter[str] = Counter()

    def fetch(request: Request) -> Response:
        asked[request.path] += 1
        return answer(MEGABYTE)

    reader = PageReader(fetch=fetch, fingerprint=str, concurrency=2)
    places = [place for place, _ in fetched(reader, ((n, Request(f"/{n}")) for n in range(40)))]
    assert places == list(range(40))
    assert asked == {f"/{n}": 1 for n in range(40)}


def test_who_stops_early_asks_for_nothing_that_has_not_begun() -> None:
    asked: list[str] = []
    going_on = threading.Event()

    def fetch(request: Request) -> Response:
        asked.append(request.path)
        if request.path != "/0":
            going_on.wait()
        return answer(b"{}")

    reader = PageReader(fetch=fetch, fingerprint=str, concurrency=2)
    answers = fetched(reader, ((n, Request(f"/{n}")) for n in range(9)))
    next(answers)
    answers.close()  # type: ignore[attr-defined]  # it is a generator
    going_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("etl-fetch"):
            thread.join()
    assert set(asked) <= {"/0", "/1", "/2"}  # of the four that wait at most, two had begun


@pytest.mark.parametrize(("size", "fits"), [(MAX_SINGLE, True), (MAX_SINGLE + 1, False)])
def test_an_answer_about_one_thing_may_not_be_as_large_as_a_list(size: int, fits: bool) -> None:
    fetch = single(lambda _: answer(b" " * size))
    if fits:
        assert len(fetch(Request("/one")).body) == size
        return
    with pytest.raises(ProtocolError, match="is no list") as caught:
        fetch(Request("/one"))
    assert caught.value.status == 200
