"""`python -m tests.support.pictures FOLDER`: the console and an evidence report, light and dark.

The database is a month of daily syncs of the sandbox: changes on most days, and one bad night.
"""

import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from playwright.sync_api import Browser, Page
from sqlalchemy import Engine, text

from etl import __version__
from etl.config.settings import Settings, load
from etl.db import migrations
from etl.db.engine import open_engine, snapshot
from etl.reports.evidence_page import page
from etl.reports.evidence_rows import EvidenceQuery, gather
from etl.sandbox import KEYS, Sandbox, Sizes, World
from tests.support.browser import browsing, chromium, tab
from tests.support.console import served
from tests.support.runs import START, elsewhere, sync

SIZES = Sizes(ld_projects=8, ld_environments=3, ld_layers=6, statsig_layers=60, layers_projects=30)
DAYS = 26
BAD_NIGHT = 17
NOW = START + timedelta(days=DAYS - 1, hours=2)
NOBODY = "http://127.0.0.1:9"
LARGEST = 150_000  # bytes of a picture
SIZE = {"width": 1180, "height": 740}
TALLER = {"run": 1150}  # so that its proofs are seen


def main(folder: Path) -> None:
    """Writes a picture for each page and each of light and dark; the console's to FOLDER/web."""
    path = chromium()
    if path is None:
        sys.exit("no Chromium here; `make browser` installs it")
    (folder / "web").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{place}/etl.db"
        engine = open_engine(url)
        migrations.upgrade(engine)
        live_a_month(engine)
        pages = pages_of(engine)
        report = write_evidence(engine, Path(place))
        engine.dispose()
        with served(url, now=NOW) as console, browsing(path) as browser:
            for scheme in ("light", "dark"):
                take(browser, console, pages, folder / "web", scheme)
                take_report(browser, report, folder, scheme)


def live_a_month(engine: Engine) -> None:
    """A sync a day; the vendors change on most of them, and one night nobody answers."""
    world, dice = World(7, SIZES), Random(7)  # noqa: S311
    with Sandbox(world) as sandbox:
        settings = settings_of(sandbox.url)
        for day in range(DAYS):
            reach = elsewhere(settings, NOBODY) if day == BAD_NIGHT else settings
            for name in reach.sources:
                sync(engine, reach, name, START + timedelta(days=day, minutes=len(name)))
            if dice.random() < 0.75:
                world.evolve(changed=dice.choice((0.01, 0.03, 0.06)))
            if day == DAYS - 3:
                spoil(world)
            if day == DAYS - 2:
                for row in world.live("statsig", "layers"):
                    if "sunsetPolicy" in row.payload:
                        world.update("statsig", "layers", row.payload["id"], sunsetPolicy="90 days")


def spoil(world: World) -> None:
    """An over-booked layer; a field that is new, one that is gone; an item of another shape."""
    held = [
        {"experimentKey": key, "flagKey": key, "reservationPercent": percent}
        for key, percent in (("free-shipping", 45), ("one-click", 40), ("express-badge", 35))
    ]
    layer = world.live("launchdarkly", "layers", "my-project")[0].payload["key"]
    changed = {"environments": {"production": {"reservations": held}}}
    world.update("launchdarkly", "layers", layer, "my-project", **changed)
    one, other = (row.payload["id"] for row in world.live("statsig", "layers")[5:7])
    world.update("statsig", "layers", one, sunsetPolicy={"afterDays": 90})
    world.update("statsig", "layers", other, tags="not a list any more", parameters=7)
    for row in world.live("layers", "projects"):
        row.payload.pop("customerExternalId", None)


def settings_of(url: str) -> Settings:
    """Three sources at that sandbox, asked once each."""
    vendors = ("launchdarkly", "statsig", "layers")
    lines = ['[database]\nurl = "sqlite:///unused.db"']
    lines += [
        f'[sources.acme-{vendor}]\nprovider = "{vendor}"\napi_key = {{ env = "KEY_{vendor}" }}\n'
        f'base_url = "{url}"\n[sources.acme-{vendor}.limits]\nattempts = 1'
        for vendor in vendors
    ]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "etl.toml"
        path.write_text("\n".join(lines))
        return load(path, environ={f"KEY_{vendor}": KEYS[vendor] for vendor in vendors})


def pages_of(engine: Engine) -> dict[str, str]:
    """The name of each picture and the page it shows: the records with the most to tell."""
    with engine.connect() as connection:
        layer, project, run = (
            connection.execute(text(query)).scalar_one()
            for query in (
                "SELECT layer_id FROM layers WHERE operation = 'updated' AND provider = 'statsig' "
                "ORDER BY version DESC LIMIT 1",
                "SELECT project_id FROM projects WHERE key = 'my-project'",
                "SELECT run_id FROM changes GROUP BY run_id "
                "ORDER BY COUNT(*) DESC LIMIT 1 OFFSET 3",
            )
        )
    return {
        "overview": "/",
        "estate": "/estate?stream=layers",
        "record": f"/records/layers/{layer}",
        "difference": f"/records/layers/{layer}?old=1#diff-head",
        "capacity": f"/capacity?project={project}",
        "changes": "/changes?stream=layers&operation=updated",
        "runs": "/runs",
        "run": f"/runs/{run}",
        "rejects": "/rejects",
        "drift": "/drift",
        "login": "/login",
        "past": f"/estate?as_of={START + timedelta(days=9):%Y-%m-%dT%H:%M:%S}",
    }


def write_evidence(engine: Engine, folder: Path) -> Path:
    """The evidence of the last week as a file."""
    told = {"title": "What changed in the last week", "version": __version__}
    with snapshot(engine) as connection:
        asked = EvidenceQuery(begin=NOW - timedelta(days=7), end=NOW)
        made = page(gather(connection, asked, made_at=NOW, **told))
    file = folder / "evidence.html"
    file.write_text(made, encoding="utf-8")
    return file


def take(browser: Browser, console: str, pages: dict[str, str], folder: Path, scheme: str) -> None:
    """The pictures of one colour scheme."""
    with tab(browser, console, **look(scheme, **SIZE)) as opened:
        for name, path in pages.items():
            shown = opened.open(path)
            height = TALLER.get(name, SIZE["height"])
            shown.set_viewport_size({"width": SIZE["width"], "height": height})
            shoot(shown, folder / f"{name}-{scheme}.png")


def take_report(browser: Browser, report: Path, folder: Path, scheme: str) -> None:
    """The report from its beginning, and from where it tells every deletion and update."""
    with tab(browser, report.as_uri(), **look(scheme, width=1000, height=820)) as opened:
        shown = opened.open("")
        shoot(shown, folder / f"evidence-{scheme}.png")
        heading = shown.get_by_role("heading", name="Deletions and their evidence")
        heading.evaluate("one => one.scrollIntoView()")
        shoot(shown, folder / f"evidence-deletions-{scheme}.png")


def look(scheme: str, *, width: int, height: int) -> dict[str, Any]:
    """How a tab shows its page."""
    size = {"width": width, "height": height}
    return {"locale": "en-GB", "color_scheme": scheme, "viewport": size}


def shoot(shown: Page, file: Path) -> None:
    """One picture, not too large for a repository."""
    shown.screenshot(path=file)
    if file.stat().st_size > LARGEST:
        sys.exit(f"{file} has {file.stat().st_size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
