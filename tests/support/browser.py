"""Chromium for tests: where it is, how it is started, and a page that notes what should not be."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-sync", "--no-first-run", "--disable-component-update"),
)
PATIENCE = 60_000  # ms; only for ever is too long


def chromium() -> str | None:
    """The path of the browser; None where it is not installed (`make browser` does)."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def browsing(path: str) -> Iterator[Browser]:
    """The browser, while the block runs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True, kw_only=True)
class Tab:
    """A page of the console or a file, and what went wrong on it so far."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Goes there."""
        self.page.goto(self.url + path)
        return self.page

    def requested(self, url: str) -> None:
        """Wrong is all that is not of the console's host; of a file, all but that file."""
        asked, ours = urlsplit(url), urlsplit(self.url)
        same = asked[:2] == ours[:2]
        if not same or (ours.scheme == "file" and asked.path != ours.path):
            self.wrong.append(f"a request to {url}")


@contextmanager
def tab(browser: Browser, url: str, **options: Any) -> Iterator[Tab]:
    """A tab of its own; whatever it did wrong ends the block with an error.

    The page's own policy holds in it, also while axe looks.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    found = Tab(page=context.new_page(), url=url)
    found.page.on("console", lambda message: found.wrong.append(f"console: {message.text}"))
    found.page.on("pageerror", lambda error: found.wrong.append(f"error: {error}"))
    found.page.on("dialog", lambda dialog: found.wrong.append(f"dialog: {dialog.message}"))
    context.on("request", lambda request: found.requested(request.url))
    try:
        yield found
        if found.wrong:
            raise AssertionError("\n".join(found.wrong))
    finally:
        context.close()
