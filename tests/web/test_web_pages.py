"""The pages of the console over HTTP: the same on both databases, paged, searched, of the past."""

import csv
import io
import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.console import HOSTILE, SCRIPT, served, tell_story, url_of
from tests.support.internals.database import open_reader
from tests.support.internals.values import safe

PAGES = (
    *("/", "/estate", "/estate?stream=environments", "/estate?stream=layers&q=hostile"),
    *("/estate?state=all&source=provider:layers", "/estate?stream=layers&project=1"),
    *("/capacity", "/capacity?level=101", "/capacity?environment=test", "/capacity?project=1"),
    *("/changes", "/changes?operation=deleted&since=7d", "/changes?stream=layers&q=Check"),
    *("/changes?run=1", "/changes.csv", "/changes.atom", "/runs", "/runs?status=ok&source=ld"),
    *("/runs/4", "/rejects", "/rejects?state=all", "/drift", "/drift?kind=added&source=st"),
    *("/records/projects/1", "/records/layers/1", "/records/environments/1", "/login"),
)
THEN = "2026-11-02T12:00:00"  # between the second sync and the third


@pytest.fixture(scope="module")
def client(console: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=console) as found:
        yield found


def words(body: str) -> str:
    """What a person reads of a page, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def page(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def anywhere(body: str) -> str:
    """A page without the address of its console."""
    return re.sub(r"127\.0\.0\.1:\d+", "console", body)


def test_every_page_is_the_same_on_both_databases_now_and_then(
    story: str, client: httpx.Client, postgres: Engine
) -> None:
    with served(url_of(postgres)) as url, httpx.Client(base_url=url) as other:
        for path in PAGES:
            for asked in (path, f"{path}{'&' if '?' in path else '?'}as_of={THEN}"):
                ours, theirs = client.get(asked), other.get(asked)
                assert (ours.status_code, theirs.status_code) == (200, 200), asked
                assert anywhere(ours.text) == anywhere(theirs.text), asked


@pytest.fixture(scope="module")
def postgres(databases) -> Iterator[Engine]:
    with databases("postgres") as engine:
        tell_story(engine)
        yield engine


def linked(body: str, label: str) -> str | None:
    """Where the link of that text leads."""
    found = re.search(rf'href="([^"]*)"[^>]*>{label}<', body)
    return unescape(found[1]) if found else None


def keys(body: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'<td class="key">(.*?)</td>', body)]


@pytest.mark.parametrize("moment", ["", f"&as_of={THEN}"])
@pytest.mark.parametrize("stream", ["projects", "environments", "layers"])
def test_the_pages_of_the_estate_hold_every_record_once(
    client: httpx.Client, story: str, stream: str, moment: str
) -> None:
    found, path = [], f"/estate?stream={stream}&state=all{moment}"
    while path:
        body = page(client, path)
        found += re.findall(rf'href="/records/{stream}/(\d+)', body)
        path = linked(body, "Next page") or ""
    engine = open_reader(story)
    condition = f"first_seen_at <= '{THEN.replace('T', ' ')}'" if moment else "1 = 1"
    with engine.connect() as connection:
        count = connection.execute(text(f"SELECT COUNT(*) FROM {stream} WHERE {condition}"))  # noqa: S608
        assert len(found) == len(set(found)) == count.scalar_one()
    engine.dispose()


def test_a_search_finds_parts_of_keys_and_names_whatever_their_case(client: httpx.Client) -> None:
    assert keys(page(client, "/estate?stream=layers&q=CHECKOUT")).count("Checkout") == 1
    assert keys(page(client, "/estate?q=My+Renamed")) == ["my-project"]
    assert keys(page(client, "/estate?q=my%25renamed")) == []
    assert "None fits these filters" in page(client, "/estate?q=nothing-is-called-so")


def test_the_past_has_the_names_of_the_past(client: httpx.Client) -> None:
    assert keys(page(client, f"/estate?q=My+renamed&as_of={THEN}")) == []
    assert "my-project" in keys(page(client, f"/estate?q=My+Project&as_of={THEN}"))
    assert "search" in keys(page(client, f"/estate?as_of={THEN}"))
    assert "search-new" in keys(page(client, "/estate"))


def test_every_link_of_a_page_of_the_past_leads_into_the_same_past(client: httpx.Client) -> None:
    for path in (*PAGES[:-1], "/records/projects/2"):
        if path.startswith("/changes."):
            continue
        body = page(client, f"{path}{'&' if '?' in path else '?'}as_of={THEN}")
        body = re.sub(r'<aside class="past".*?</aside>', "", body, flags=re.DOTALL)
        links = [unescape(one) for one in re.findall(r'<a [^>]*href="(/[^"#]*)"', body)]
        assert links
        assert [one for one in links if "as_of=" not in one] == []


def test_a_record_of_the_past_shows_what_it_was(client: httpx.Client) -> None:
    (identifier,) = re.findall(r"/records/projects/(\d+)", page(client, "/estate?q=My+renamed"))
    assert "<h1>My Project" in page(client, f"/records/projects/{identifier}?as_of={THEN}")
    assert "<h1>My renamed project" in page(client, f"/records/projects/{identifier}")


def test_a_record_that_was_not_known_yet_is_not_found(client: httpx.Client) -> None:
    (identifier,) = set(re.findall(r"/records/projects/(\d+)", page(client, "/estate?q=hostile-0")))
    answer = client.get(f"/records/projects/{identifier}?as_of=2026-11-01T12:00")
    assert answer.status_code == 404
    assert "was not known yet" in answer.text


def test_drift_is_what_was_noted_by_then(client: httpx.Client) -> None:
    """The field was new in the third sync, and still there in the fourth."""
    assert "None was noted by then" in words(page(client, f"/drift?as_of={THEN}"))
    assert "newThing" in words(page(client, "/drift"))
    later = words(page(client, "/drift?as_of=2026-11-03T12:00:00"))
    assert "newThing" in later
    assert "after this moment" in later


def test_a_layer_that_is_over_booked_raises_an_alarm(client: httpx.Client) -> None:
    body = words(page(client, "/capacity?level=101"))
    assert "150 % used over-booked by 50 %" in body
    assert "150 % used" not in words(page(client, f"/capacity?level=101&as_of={THEN}"))


def test_the_difference_of_any_two_versions(client: httpx.Client) -> None:
    listed = page(client, "/estate?stream=layers&q=Checkout&source=st")
    (path,) = re.findall(r'"(/records/layers/\d+)">Checkout<', listed)
    assert "description" in words(page(client, path))
    body = words(page(client, f"{path}?old=1&new=3"))
    assert "differ between version 1 and version 3" in body
    assert client.get(f"{path}?old=1&new=9").status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/runs/999", 404),
        ("/runs/x", 400),
        ("/records/layers/999999", 404),
        ("/records/nothing/1", 404),
        ("/records/layers/99999999999999999999", 400),
        ("/estate?stream=x", 400),
        ("/estate?after=x", 400),
        ("/estate?project=999", 404),
        ("/estate?as_of=yesterday", 400),
        ("/estate?as_of=2027-01-01T00:00", 400),
        ("/changes?since=x", 400),
        ("/changes.csv?since=x", 400),
        ("/changes.atom?run=x", 400),
        ("/changes?run=-1", 400),
        ("/runs?before=0", 400),
    ],
)
def test_a_wrong_question_gets_a_page_that_says_so(
    client: httpx.Client, path: str, status: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "<main" in answer.text


def test_before_the_first_run_the_page_says_that_nothing_is_known(client: httpx.Client) -> None:
    body = words(page(client, "/?as_of=2026-01-01T00:00:00"))
    assert "nothing is known before 2026-11-01 00:00:00 UTC" in body


def test_the_csv_holds_every_field_and_no_formula(client: httpx.Client) -> None:
    rows = list(csv.DictReader(io.StringIO(page(client, "/changes.csv"))))
    assert len({row["change_id"] for row in rows}) > 100
    assert [row for row in rows for value in row.values() if value[:1] in tuple("=+@\x1b")] == []
    deleted = list(csv.DictReader(io.StringIO(page(client, "/changes.csv?operation=deleted"))))
    assert {row["operation"] for row in deleted} == {"deleted"}


def test_the_atom_feed_is_well_formed_and_links_to_the_records(client: httpx.Client) -> None:
    root = ElementTree.fromstring(client.get("/changes.atom").content)  # noqa: S314  our own
    names = {"a": "http://www.w3.org/2005/Atom"}
    entries = root.findall("a:entry", names)
    ids = [entry.findtext("a:id", namespaces=names) for entry in entries]
    assert len(entries) == len(set(ids)) == 100
    link = entries[0].find("a:link", names)
    assert link is not None
    assert client.get(link.attrib["href"]).status_code == 200


def test_hostile_texts_are_text_on_every_page(client: httpx.Client) -> None:
    """No page has a tag, an attribute or a control character that a vendor wrote."""
    shown = 0
    for path in (*PAGES, *(f"/estate?stream=layers&q={quote(hostile)}" for hostile in HOSTILE)):
        body = page(client, path)
        if ".csv" in path:
            continue
        assert "<script>" not in body.replace('<script src="/static/console.js">', "")
        assert "<img" not in body
        assert " onfocus=" not in re.sub(r">[^<]*<", "><", body).replace(
            "&#34; autofocus onfocus=", ""
        )
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", body)
        shown += safe(SCRIPT) in words(body)
    assert shown > 5


def test_each_page_of_a_run_tells_its_streams_and_proofs(client: httpx.Client) -> None:
    body = words(page(client, "/runs/1"))
    assert "end mark reached" in body
    assert "lists to their end" in body
    assert "The proof of every single list" in body
