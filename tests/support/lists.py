"""The paged lists of the three vendors, small enough to have many pages, and what came of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from etl.config.settings import Settings
from etl.model import RunReport, StreamReport
from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import rows
from tests.support.runs import asked, of, settings_for, sync

KEY = "my-project"


@dataclass(frozen=True, slots=True, kw_only=True)
class List:
    """One paged list; size: its records, page: of a page. parent: the project it belongs to."""

    source: str
    provider: str
    stream: str
    path: str
    page: int
    sizes: Mapping[str, int]
    parent: str | None = None
    newest_first: bool = False
    tables: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.source}-{self.stream}"

    def world(self) -> World:
        """A world whose only long list is this one."""
        return World(7, Sizes(**{**FEW, **self.sizes}))

    def sandbox(self) -> Sandbox:
        """A server of it; environments have no page size of their own, so the server caps them."""
        return Sandbox(self.world(), page_cap=None if self.tables else self.page)

    def settings(self, sandbox: Sandbox) -> Settings:
        """Small pages."""
        return settings_for(sandbox, **{self.source: self.tables})

    def sync(self, engine: Engine, sandbox: Sandbox, **wish: Any) -> RunReport:
        """One run of the stream."""
        return sync(engine, self.settings(sandbox), self.source, streams=[self.stream], **wish)

    def told(self, report: RunReport) -> StreamReport:
        """What the report says of the stream."""
        return of(report, self.stream)

    def fault(self, kind: str, **values: Any) -> Fault:
        """A fault in answers of the list."""
        return Fault(f"{self.provider} {self.path}[?]*", kind, **values)

    def asked(self, sandbox: Sandbox) -> list[str]:
        """The requests for pages of it."""
        return asked(sandbox, f"{self.path}?")

    def keys(self, world: World) -> list[str]:
        """What the world holds now, in the order of the list."""
        return keys_of(world, self.provider, self.stream, self.parent)[
            :: -1 if self.newest_first else 1
        ]

    def delete(self, world: World, key: str) -> None:
        """The record is gone at the vendor."""
        world.delete(self.provider, self.stream, key, self.parent)

    def create(self, world: World, **fields: Any) -> str:
        """A new record at the vendor, with these fields; its key."""
        return world.create(self.provider, self.stream, self.parent, **fields)

    def stored(self, engine: Engine) -> list[str]:
        """The keys of the live rows, sorted."""
        return sorted(row["key"] for row in rows(engine, self.stream, "NOT is_deleted"))


FEW = {"ld_projects": 1, "ld_environments": 1, "ld_layers": 1, "layers_projects": 1}

PROJECTS = List(
    source="ld",
    provider="launchdarkly",
    stream="projects",
    path="/api/v2/projects",
    page=4,
    sizes={"ld_projects": 13},
    tables={"projects": {"page_size": 4}},
)
ENVIRONMENTS = List(
    source="ld",
    provider="launchdarkly",
    stream="environments",
    path=f"/api/v2/projects/{KEY}/environments",
    page=6,
    sizes={"ld_environments": 26},
    parent=KEY,
)
STATSIG = List(
    source="st",
    provider="statsig",
    stream="layers",
    path="/console/v1/layers",
    page=5,
    sizes={"statsig_layers": 17},
    tables={"layers": {"page_size": 5}},
)
LAYERS_COM = List(
    source="ly",
    provider="layers",
    stream="projects",
    path="/v1/projects",
    page=3,
    sizes={"layers_projects": 11},
    newest_first=True,
    tables={"projects": {"page_size": 3}},
)
BY_OFFSET = (PROJECTS, ENVIRONMENTS)
ALL = (*BY_OFFSET, STATSIG, LAYERS_COM)


def keys_of(world: World, provider: str, stream: str, project: str | None = None) -> list[str]:
    """The keys of the live records, oldest first."""
    name = "key" if provider == "launchdarkly" else "id"
    return [row.payload[name] for row in world.live(provider, stream, project)]


def end(report: RunReport) -> tuple[str, int]:
    """How the run ended."""
    return report.status, report.exit_code


def gone(engine: Engine, stream: str = "") -> list[tuple[str, str]]:
    """(key, reason) of every deletion in the feed."""
    found = rows(engine, "changes", "operation = 'deleted'")
    return sorted((row["key"], row["reason"]) for row in found if stream in ("", row["stream"]))


def operations(engine: Engine, stream: str, after: int = 0) -> list[tuple[str, str]]:
    """(operation, key) of every change of a stream with a higher id than `after`."""
    found = rows(engine, "changes", f"stream = '{stream}' AND change_id > {after}")
    return sorted((row["operation"], row["key"]) for row in found)
