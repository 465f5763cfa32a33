"""The console in a real browser: every page, filter, moment, difference, by mouse and keyboard."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, ViewportSize

from tests.cli.command import etl
from tests.conftest import Databases
from tests.support.browser import Tab, browsing, chromium, tab
from tests.support.console import HOSTILE, SCRIPT, served, stretch, tell_story, url_of
from tests.support.internals.values import safe
from tests.support.internals.web import Token

NAVIGATION = ("Overview", "Estate", "Capacity", "Changes", "Runs", "Rejects")
PAGES = (
    *("/", "/estate?stream=layers&q=hostile", "/capacity?level=101", "/changes?run=7", "/runs"),
    *("/runs/7", "/rejects?state=all", "/drift", "/records/projects/1", "/records/layers/1"),
    "/login",
)
NARROW = {"width": 400, "height": 800}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")  # Playwright keeps an event loop running: no other file has one
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip(
            "there is no Chromium here and no package manager to install it: `make browser`"
        )
    with browsing(path) as found:
        yield found


@pytest.fixture
def opened(browser: Browser, console: str) -> Iterator[Tab]:
    with tab(browser, console) as found:
        yield found


def follow(found: Locator) -> None:
    """Clicks on what leads to another page, and waits for that."""
    with found.page.expect_navigation():
        found.click()


def enter(page: Page) -> None:
    """Sends a form by the keyboard."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def press(page: Page, name: str) -> None:
    """Sends a form by its button."""
    follow(page.get_by_role("button", name=name, exact=True))


def go(page: Page, name: str) -> None:
    """Clicks on an entry of the navigation."""
    follow(page.get_by_role("navigation", name="Pages").get_by_role("link", name=name))


def choose_stream(page: Page, name: str) -> None:
    """Clicks on a tab of the estate."""
    follow(page.get_by_role("navigation", name="Kinds of records").get_by_role("link", name=name))


def rows(page: Page) -> list[str]:
    """The text of every row of the first table of the content."""
    return page.locator("main table").first.locator("tbody tr").all_inner_texts()


def test_every_page_is_reached_by_clicks(opened: Tab) -> None:
    page = opened.open("/")
    for name in NAVIGATION:
        go(page, name)
        assert page.locator("h1").count() == 1
        current = page.locator("nav[aria-label=Pages] a[aria-current=page]")
        assert current.all_inner_texts() == [name]
    go(page, "Runs")
    follow(page.get_by_role("link", name="run 7", exact=True))
    assert page.locator("h1").inner_text().startswith("Run 7")
    proofs = page.get_by_role("region", name="Lists")
    assert "end mark reached" in proofs.inner_text()
    page.get_by_text("The proof of every single list").click()
    assert not proofs.is_visible()
    follow(page.get_by_role("link", name="All changes of this run"))
    assert "Only changes of run 7" in page.inner_text("main")
    go(page, "Estate")
    follow(page.locator("main tbody a").first)
    follow(page.get_by_role("link", name="All layers of this project"))
    follow(page.locator("main tbody a").first)
    page.get_by_text("What the vendor sent").click()
    assert page.get_by_label("Payload").is_visible()


def test_the_filters_of_the_estate(opened: Tab) -> None:
    page = opened.open("/estate")
    choose_stream(page, "Layers")
    page.get_by_label("Key or name contains").fill("hostile-")
    enter(page)
    assert len(rows(page)) == len(HOSTILE)
    page.get_by_label("Source").select_option("st")
    press(page, "Filter")
    assert page.get_by_role("heading", name="No layers here").is_visible()
    follow(page.get_by_role("link", name="Show all layers"))
    follow(page.get_by_role("link", name="Next page"))
    follow(page.get_by_role("link", name="First page"))
    choose_stream(page, "Projects")
    page.get_by_label("State").select_option("deleted")
    press(page, "Filter")
    assert page.get_by_role("heading", name="No projects here").is_visible()


def test_the_filters_of_capacity_changes_runs_and_rejects(opened: Tab) -> None:
    page = opened.open("/capacity")
    page.get_by_label("Used", exact=True).select_option("101")
    page.get_by_label("Environment").fill("production")
    press(page, "Filter")
    assert "over-booked by 50 %" in page.inner_text("main")
    page.goto(f"{opened.url}/changes")
    page.get_by_label("Change", exact=True).select_option("deleted")
    press(page, "Filter")
    assert set(page.locator(".event .badge").all_inner_texts()) == {"deleted"}
    page.get_by_label("Change", exact=True).select_option("")
    page.get_by_label("Stream").select_option("layers")
    page.get_by_label("Key contains").fill("checkout")
    page.get_by_label("Observed in").select_option("30d")
    press(page, "Filter")
    assert {text.lower() for text in page.locator(".event .kind").all_inner_texts()} == {"layer"}
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "changes.csv"
    page.goto(f"{opened.url}/runs")
    page.get_by_label("Source").select_option("ly")
    page.get_by_label("Status").select_option("ok")
    press(page, "Filter")
    assert len(rows(page)) == 4
    page.goto(f"{opened.url}/rejects")
    page.locator("select#state").select_option("all")
    press(page, "Filter")
    assert page.get_by_role("heading", name="No reject").is_visible()


def test_the_filters_of_drift(opened: Tab) -> None:
    page = opened.open("/rejects?source=st")
    follow(
        page.get_by_role("navigation", name="Kinds of oddities").get_by_role("link", name="Drift")
    )
    assert page.get_by_label("Source").input_value() == "st"
    page.get_by_label("What").select_option("added")
    press(page, "Filter")
    assert {row.split("\t")[0] for row in rows(page)} == {"newThing", SCRIPT}
    page.get_by_label("What").select_option("vanished")
    press(page, "Filter")
    follow(page.get_by_role("link", name="Show all drift"))
    assert "newThing" in page.inner_text("main")


def test_the_moment_is_kept_on_every_page_until_now_is_chosen(opened: Tab) -> None:
    page = opened.open("/estate?q=my-project")
    assert "My renamed project" in rows(page)[0]
    page.get_by_label("As of").fill("2026-11-02T12:34:56")
    press(page, "Go")
    assert "My Project" in rows(page)[0]
    for name in NAVIGATION:
        go(page, name)
        past = page.get_by_role("complementary", name="Past")
        assert "as it was at 2026-11-02 12:34:56 UTC" in past.inner_text()
        assert page.get_by_label("As of").input_value() == "2026-11-02T12:34:56"
    go(page, "Estate")
    page.get_by_label("Key or name contains").fill("my-project")
    enter(page)
    assert "My Project" in rows(page)[0]
    follow(page.locator("main tbody a").first)
    assert page.locator("h1").inner_text() == "My Project"
    follow(page.get_by_role("link", name="Back to now"))
    assert page.locator("h1").inner_text() == "My renamed project"
    follow(page.locator(".life").get_by_role("link", name="version 1"))
    assert page.locator("h1").inner_text() == "My Project"


def test_the_difference_of_two_chosen_versions(opened: Tab) -> None:
    page = opened.open("/estate?stream=layers&source=st&q=Checkout")
    follow(page.get_by_role("link", name="Checkout", exact=True))
    page.get_by_label("From").select_option("1")
    page.get_by_label("To", exact=True).select_option("3")
    press(page, "Compare")
    told = " ".join(page.locator("table.diff").all_inner_texts())
    assert SCRIPT in told
    assert "newThing" in told


def test_hostile_texts_are_only_text(opened: Tab) -> None:
    shown = ("/", "/estate", "/estate?stream=layers&source=st", "/capacity", "/changes", "/drift")
    for path in shown:
        page = opened.open(path)
        assert "owned" not in page.title()
        assert page.locator("main img, main script, main iframe").count() == 0
    page = opened.open("/estate?stream=layers&source=st")
    links = [page.get_by_role("link", name=safe(text), exact=True).first for text in HOSTILE]
    places = [link.get_attribute("href") or "" for link in links]
    for text, place in zip(HOSTILE, places, strict=True):
        page = opened.open(place)
        assert page.locator("h1").inner_text() == safe(text)
        assert page.title() == f"{safe(text)} · etl"
        assert page.locator("main img").count() == 0
        assert page.evaluate("document.activeElement === document.body")


def test_the_keyboard_reaches_the_content_first(opened: Tab) -> None:
    page = opened.open("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("one => one === document.activeElement && one.offsetHeight > 10")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_light_and_dark_are_switched_and_kept(opened: Tab) -> None:
    page = opened.open("/")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark


def test_without_scripts_everything_works_but_the_switch(browser: Browser, console: str) -> None:
    with tab(browser, console, java_script_enabled=False) as opened:
        page = opened.open("/estate")
        page.get_by_label("As of").fill("2026-11-02T12:34:56")
        press(page, "Go")
        assert page.get_by_role("complementary", name="Past").is_visible()
        assert not page.locator("[data-theme-switch]").is_visible()


def test_a_token_opens_the_console(browser: Browser, story: str) -> None:
    token = "correct horse battery staple"  # noqa: S105  made up here
    with served(story, token=Token.of(token)) as url, tab(browser, url) as opened:
        page = opened.open("/runs?status=ok")
        page.get_by_role("textbox", name="Token").fill("wrong")
        enter(page)
        assert page.get_by_role("alert").inner_text() == "That is not the token."
        page.get_by_role("textbox", name="Token").fill(token)
        press(page, "Open")
        assert page.url == f"{url}/runs?status=ok"
        assert page.locator("h1").inner_text() == "Runs"


BROKEN = {"resultTypes": ["violations"]}  # what holds need not be told, node by node
LOOKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "light": ({}, BROKEN),
    "dark": ({"color_scheme": "dark"}, {"runOnly": ["color-contrast"], **BROKEN}),
    "narrow": ({"viewport": NARROW}, {"rules": {"color-contrast": {"enabled": False}}, **BROKEN}),
}


@pytest.mark.parametrize("look", LOOKS)
def test_no_page_has_a_serious_barrier(browser: Browser, console: str, look: str) -> None:
    """axe's rules, under the page's own policy.

    In the dark only colours are new, on a narrow screen everything but colours.
    """
    axe = Axe()
    context, options = LOOKS[look]
    with tab(browser, console, **context) as opened:
        for path in PAGES:
            page = opened.open(path)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            found = axe.run(page, options=options).response["violations"]
            serious = [
                (one["id"], one["help"], [node["html"] for node in one["nodes"]][:3])
                for one in found
                if one["impact"] in SERIOUS
            ]
            assert serious == [], path
            if look == "narrow":
                assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]


def test_on_a_narrow_screen_navigation_is_one_line_and_so_is_a_short_tag(
    browser: Browser, console: str
) -> None:
    with tab(browser, console, viewport=NARROW) as opened:
        page = opened.open("/estate")
        sizes = page.locator("main .tag").evaluate_all(
            "all => all.filter(one => one.innerText.length < 12).map(one => one.offsetHeight)"
        )
        assert sizes
        assert max(sizes) < 40
        places = page.locator("nav[aria-label=Pages] li").evaluate_all(
            "all => all.map(one => one.offsetTop)"
        )
        assert len(set(places)) == 1


WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 800}
PAPER = {"width": 720, "height": 1000}  # A4 without its margins
LONG = ("/nothing", f"/changes?since={'9' * 150}d", f"/runs/{'9' * 1000}", f"/runs?{'W' * 3000}=1")
OTHERS = (  # the same templates, with other rows
    *("/estate", "/estate?stream=environments", "/estate?stream=layers&state=all"),
    *("/capacity", "/changes", "/changes?operation=deleted", "/runs/10", "/rejects"),
    *("/records/environments/1", "/records/layers/20", "/estate?q=" + "W" * 200),
    *("/?as_of=2026-11-03T12:00:00", "/estate?stream=layers&project=1", "/changes?run=7"),
)
EVERYWHERE = pytest.mark.parametrize(
    "paths",
    [pytest.param((*PAGES, *LONG), id="each"), pytest.param(OTHERS, marks=pytest.mark.slow)],
)


@pytest.fixture(scope="module")
def stretched(databases: Databases) -> Iterator[str]:
    """The console over texts that are very long and have no space."""
    with databases("sqlite") as engine:
        tell_story(engine)
        stretch(engine)
        with served(url_of(engine)) as url:
            yield url


def without_errors(opened: Tab) -> None:
    """Chromium says on its console that a page is a 404, which is what is looked at."""
    opened.wrong = [line for line in opened.wrong if "status of 40" not in line]


@EVERYWHERE
def test_no_page_is_wider_than_its_window_whatever_a_vendor_sends(
    browser: Browser, stretched: str, paths: Sequence[str]
) -> None:
    with tab(browser, stretched, viewport=WIDE) as opened:
        for path in paths:
            page = opened.open(path)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            for size in (WIDE, PHONE):
                page.set_viewport_size(size)
                width = page.evaluate("document.scrollingElement.scrollWidth")
                assert width <= size["width"], path[:60]
                head = page.locator("header.top").evaluate("one => one.offsetHeight")
                assert head < 60, path[:60]
        without_errors(opened)


CUT = (
    "[...document.querySelectorAll('main, main :not(.hide)')].filter(one =>"
    " getComputedStyle(one).overflowX !== 'visible' && one.scrollWidth > one.clientWidth + 1)"
    ".map(one => one.outerHTML.slice(0, 80))"
)


@EVERYWHERE
def test_print_is_light_and_whole(browser: Browser, stretched: str, paths: Sequence[str]) -> None:
    """Whatever the screen was: nothing is cut at the right, no region scrolls."""
    with tab(browser, stretched, viewport=PAPER, color_scheme="dark") as opened:
        page = opened.open("/")
        page.get_by_role("button", name="Switch between light and dark").click()
        page.get_by_role("button", name="Switch between light and dark").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.emulate_media(media="print")
        for path in paths:
            page = opened.open(path)
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert colour == "rgb(251, 251, 250)", path[:60]
            assert page.evaluate("document.scrollingElement.scrollWidth") <= PAPER["width"]
            assert page.evaluate(CUT) == [], path[:60]
        without_errors(opened)


def test_on_a_telephone_the_moment_is_chosen_behind_a_button(
    browser: Browser, console: str
) -> None:
    with tab(browser, console, viewport=PHONE) as opened:
        page = opened.open("/rejects")
        assert not page.get_by_label("As of").is_visible()
        page.get_by_role("checkbox", name="Show the field for a moment").check()
        page.get_by_label("As of").fill("2026-11-02T12:34:56")
        press(page, "Go")
        assert page.get_by_role("complementary", name="Past").is_visible()
        current = page.locator("nav[aria-label=Pages] [aria-current]").bounding_box()
        around = page.locator("nav[aria-label=Pages]").bounding_box()
        assert current is not None
        assert around is not None
        assert around["x"] <= current["x"]
        assert current["x"] + current["width"] <= around["x"] + around["width"] + 1


@pytest.fixture(scope="module")
def evidence(story: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evidence of all that happened, as `etl report` writes it."""
    folder = tmp_path_factory.mktemp("evidence")
    config, page = folder / "etl.toml", folder / "evidence.html"
    source = '[sources.ly]\nprovider = "layers"\napi_key = { env = "KEY_ly" }\n'
    config.write_text(f'[database]\nurl = "{story}"\n{source}')
    asked = ("report", "changes", "--since", "2026-10-01", "--format", "html", "--out", str(page))
    ended = etl("--config", str(config), *asked)
    assert (ended.code, ended.err) == (0, "")
    return page


@pytest.mark.parametrize("look", LOOKS)
def test_the_evidence_report_opens_by_itself_without_a_serious_barrier(
    browser: Browser, evidence: Path, look: str
) -> None:
    context, options = LOOKS[look]
    with tab(browser, evidence.as_uri(), **context) as opened:
        page = opened.open("")
        assert SCRIPT in page.inner_text("body")
        found = Axe().run(page, options=options).response["violations"]
        assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
        if look == "narrow":
            assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]


@pytest.mark.parametrize(
    ("wrong", "noticed", "policy"),
    [
        ("<script>document.title = 'ran'</script>", "Content Security Policy", True),
        ('<img src="http://127.0.0.1:9/x.png">', "Content Security Policy", True),
        ('<img src="http://127.0.0.1:9/x.png">', "a request to http://127", False),
        ('<img src="other.png">', "a request to file:.*/other.png", False),
    ],
)
def test_a_report_that_ran_or_loaded_something_would_be_noticed(
    browser: Browser, evidence: Path, tmp_path: Path, wrong: str, noticed: str, policy: bool
) -> None:
    """The test above is worth something: it sees what the page is not to do."""
    spoiled = evidence.read_text(encoding="utf-8").replace("</main>", f"{wrong}</main>")
    if not policy:
        spoiled = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", spoiled)
    file = tmp_path / "spoiled.html"
    file.write_text(spoiled, encoding="utf-8")
    with pytest.raises(AssertionError, match=noticed), tab(browser, file.as_uri()) as opened:
        opened.open("")
