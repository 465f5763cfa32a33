"""docs/schema.md tells every table, view and column of the real schema, and its queries run."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import inspect

from etl.db import migrations
from etl.db.engine import open_engine
from etl.model import DeletionReason, Operation, RunKind, RunStatus, StreamStatus
from etl.web.app import PAGES
from tests.support.database import VIEWS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "schema.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
COLUMN = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
BORROWED = re.compile(r"^Columns: (.*)\.$", re.MULTILINE)
NAME = re.compile(r"`(\w+)`")
STATUS = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
MODULE = re.compile(r"`(etl/[\w/]+\.py)`")
GROUPS = {
    *("identity", "state", "project", "life", "version", "staged"),
    *("project_content", "environment_content", "layer_content"),
    *("parameter_content", "reservation_content", "part_version"),
}
STATUSES = {"running", "ok", "partial", "held", "parked", "denied", "failed", "aborted", "dry_run"}

SECTIONS: Mapping[str, str] = dict(SECTION.findall(PAGE))


def columns(name: str) -> list[str]:
    """The columns that a section tells, its own and the borrowed ones."""
    body = SECTIONS[name]
    own = body.partition("| status | means |")[0]
    borrowed = [other for line in BORROWED.findall(body) for other in NAME.findall(line)]
    return COLUMN.findall(own) + [column for other in borrowed for column in columns(other)]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Table or view -> its columns, in a migrated database."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('docs') / 'etl.db'}")
    migrations.upgrade(engine)
    inspector = inspect(engine)
    names = [*inspector.get_table_names(), *inspector.get_view_names()]
    found = {name: {column["name"] for column in inspector.get_columns(name)} for name in names}
    engine.dispose()
    return found


def test_every_table_and_view_has_a_section_and_every_section_a_table(
    real: dict[str, set[str]],
) -> None:
    assert set(SECTIONS) - GROUPS == set(real)
    assert set(real) >= VIEWS


def test_no_section_stands_twice() -> None:
    assert len(SECTION.findall(PAGE)) == len(SECTIONS)


@pytest.mark.parametrize("name", sorted(set(SECTIONS) - GROUPS))
def test_a_section_tells_exactly_the_columns_there_are(
    name: str, real: dict[str, set[str]]
) -> None:
    assert set(columns(name)) == real[name]


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_no_column_is_told_twice_in_a_section(name: str) -> None:
    own = COLUMN.findall(SECTIONS[name].partition("| status | means |")[0])
    assert sorted(own) == sorted(set(own))


def test_every_status_of_a_run_is_told() -> None:
    assert set(STATUS.findall(SECTIONS["runs"].partition("| status | means |")[2])) == STATUSES


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_every_view_for_questions_has_an_example(view: str) -> None:
    plain = view.endswith(("_current", "_history"))
    records = view in ("project_versions", "environment_versions", "layer_versions")
    assert plain or records or "```sql" in SECTIONS[view]


@pytest.mark.parametrize(
    "page", ["lifecycle.md", *(f"decisions/{path.name}" for path in DOCS.glob("decisions/*.md"))]
)
def test_every_module_a_page_names_is_there(page: str) -> None:
    named = MODULE.findall((DOCS / page).read_text(encoding="utf-8"))
    assert [name for name in named if not (DOCS.parent / name).is_file()] == []


def test_every_reason_of_a_deletion_is_told() -> None:
    reasons = re.findall(r"^\| `([a-z0-9' ]+ [a-z0-9' ]+)` \|", PAGE, re.MULTILINE)
    assert set(reasons) == set(DeletionReason)


def words(section: str, column: str) -> set[str]:
    """What the page says that a column may hold."""
    found = re.search(rf"^\| `{column}` \| text \| (.*) \|$", SECTIONS[section], re.MULTILINE)
    assert found
    return set(re.findall(r"`(\w+)`", found[1]))


def test_every_word_of_a_closed_set_is_told() -> None:
    assert words("runs", "kind") == set(RunKind)
    assert words("run_streams", "status") == set(StreamStatus)
    assert words("changes", "operation") == set(Operation)
    statuses = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", SECTIONS["runs"], re.MULTILINE)
    assert set(statuses) == set(RunStatus) - {RunStatus.BUSY, RunStatus.QUEUED}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_the_console_and_the_evidence_have_a_picture(scheme: str) -> None:
    pages = {template.removesuffix(".html") for template, _ in PAGES.values()}
    for told, names in (
        ("web.md", {f"web/{name}" for name in (*pages, "login")}),
        ("reporting.md", {"evidence"}),
    ):
        text = (DOCS / told).read_text(encoding="utf-8")
        shown = re.findall(rf"\(pictures/([a-z/-]+)-{scheme}\.png\)", text)
        assert names <= set(shown), told
        assert all((DOCS / "pictures" / f"{name}-{scheme}.png").is_file() for name in shown)
