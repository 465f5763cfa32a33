"""Plans without a run, and what their files hold."""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from typing import Any

from etl import __version__
from etl.model import Reject, RunReport, StreamReport
from etl.operations.plan_document import (
    PlannedChange,
    PlannedChanges,
    PlannedReject,
    SourcePlan,
    Standing,
    as_lines,
    read_plans,
    write_plans,
)

AT = datetime(2026, 12, 1, 6, tzinfo=UTC)
FILE = "plan.json"


def change(number: int = 1, **fields: Any) -> PlannedChange:
    """An update of a project of Layers.com."""
    name = f"prj_p{number}"
    usual = PlannedChange(
        stream="projects",
        operation="updated",
        parent_id="",
        project_key="",
        external_id=f"p{number}",
        key=name,
        row_id=number,
        version=1,
        content_hash="1:abc",
        raw={"id": name, "name": "Brücke", "sum": 10**30, "share": 1e-7},
        fields=[{"path": "name", "old": "Bridge", "new": "Brücke"}],
    )
    return replace(usual, **fields)


def plan_of(*changes: PlannedChange, source: str = "ly") -> SourcePlan:
    """A plan of Layers.com with these changes and one reject."""
    stream = StreamReport(stream="projects", updated=len(changes), oldest_read_at=AT)
    report = RunReport(
        run_id=1,
        source=source,
        provider="layers",
        kind="dry_run",
        status="ok",
        exit_code=0,
        started_at=AT,
        finished_at=AT,
        streams=[stream],
    )
    reject = Reject(external_id="x", path="name", reason="Field required", payload={"id": "x"})
    return SourcePlan(
        source=source,
        provider="layers",
        base_url="https://api.layers.com",
        options={"projects": {"page_size": 200}},
        scope="{}",
        observed_at=AT,
        standing=Standing(
            schema="1", run_id=1, merged_at=AT, finished_at=AT, scopes={}, noted_at=None
        ),
        report=report,
        held={},
        left={"projects": [7]},
        back={},
        scopes=[],
        drift=[("projects", "new", "added", "string")],
        changes=PlannedChanges(changes),
        rejects=[PlannedReject(stream="projects", parent_id="", reject=reject)],
    )


def lines_of(*plans: SourcePlan) -> list[bytes]:
    """The lines of the plans' file."""
    return list(as_lines(plans, __version__))


def file_of(plans: Sequence[SourcePlan], *, packed: bool = False) -> bytes:
    """The content of the plans' file."""
    file = BytesIO()
    write_plans(file, plans, __version__, packed=packed)
    return file.getvalue()


def read(content: bytes | Iterable[bytes], *, packed: bool = False) -> list[SourcePlan]:
    """The plans of a file with that content, or these lines; packed: it is gzipped before."""
    content = content if isinstance(content, bytes) else b"".join(content)
    content = gzip.compress(content, 1) if packed else content
    return read_plans(BufferedReader(BytesIO(content)), FILE, __version__)
