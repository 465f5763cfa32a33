"""A provider as a dict: what each request is answered with, and runs of the pipeline over that.

    vendor = Vendor(engine, "layers", delete_confirmations=0)
    vendor.answers |= cursor_list(layers_items("a", "b", "c"), size=2)
    vendor.run()

An answer is a body; a number: the status of a refusal; a function without arguments: what it gives,
asked for in that moment; or a list of those: one after the other, of which the last one stays.
What has no answer is a 404.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine

from etl.config.settings import Settings
from etl.errors import AccessDenied, RateLimited, RequestRejected, SourceError, TransientError
from etl.extract.pages import PageReader
from etl.model import RunReport
from etl.providers.kit import Request, Response, Traffic
from etl.providers.wire import fingerprint_with
from tests.support.runs import START, hour, run_with, settings_of

Answers = dict[str, Any]
CREATED = "2026-01-01T00:00:00Z"


@dataclass(kw_only=True)
class Vendor:
    """A source of one provider. options: tables of its configuration, but for its limits.

    asked: what the last run asked for; alone: of that, what wanted a connection of its own.
    traffic: what the last run cost; an answer may add to it. clock: the vendor's, that it tells.
    """

    engine: Engine
    provider: str
    name: str = "x"
    answers: Answers = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    key: str = "api-00000000-scripted"
    asked: list[str] = field(default_factory=list)
    alone: list[Request] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    clock: Callable[[], datetime] | None = None
    keep: Callable[[str, str, Request, Any], None] | None = None
    _hours: Iterator[int] = field(default_factory=count, init=False)
    _turns: dict[str, int] = field(default_factory=dict, init=False)

    def fetch(self, request: Request) -> Response:
        """Answers as the dict says."""
        query = f"?{urlencode(request.params)}" if request.params else ""
        target = request.path + query
        self.asked.append(target)
        self.alone += [request] if request.alone else []
        self.traffic.requests += 1
        answer = self._due(target)
        if isinstance(answer, int):
            raise refusal(answer)
        date = {} if self.clock is None else {"date": format_datetime(self.clock(), usegmt=True)}
        return Response(status=200, headers=date, body=json.dumps(answer).encode(), url=target)

    def _due(self, target: str) -> Any:
        answer = self.answers.get(target, 404)
        if isinstance(answer, list):
            turn = self._turns.get(target, 0)
            self._turns[target] = turn + 1
            answer = answer[min(turn, len(answer) - 1)]
        return answer() if callable(answer) else answer

    @property
    def settings(self) -> Settings:
        """The configuration of the source."""
        tables = {**self.options, "limits": {"delete_percent": 100, **self.limits}}
        return settings_of({self.name: self.provider}, {self.name: tables}, key=self.key)

    def run(
        self,
        *,
        at: datetime | None = None,
        clock: Callable[[], datetime] | None = None,
        concurrency: int = 1,
        **wish: Any,
    ) -> RunReport:
        """One run, an hour after the one before it; `at` or by `clock` where that is told."""
        self.asked.clear()
        self.alone.clear()
        self.traffic = Traffic()
        self._turns.clear()
        now = at or hour(next(self._hours))
        reader = PageReader(
            fetch=self.fetch,
            fingerprint=fingerprint_with("scripted"),
            concurrency=concurrency,
            keep=self.keep,
        )
        return run_with(
            self.engine,
            self.settings,
            self.name,
            reader,
            clock=clock or (lambda: now),
            traffic=self.traffic,
            **wish,
        )


def refusal(status: int) -> SourceError:
    """The error that the client makes of a status."""
    said = f"the provider answers {status}"
    if status in (401, 403):
        return AccessDenied(said, status=status)
    if status == 429:
        return RateLimited(said, retry_at=START + timedelta(days=1))
    if status >= 500:
        return TransientError(said, status=status)
    return RequestRejected(said, status=status)


def cursor_list(items: Sequence[Any], *, size: int, then: Any = None) -> Answers:
    """The pages of a list of Layers.com. then: what stands where the end mark does."""
    found: Answers = {"/v1/whoami": {"organizationId": "one"}}
    for at in range(0, len(items), size) or (0,):
        cursor = {"cursor": str(at)} if at else {}
        more = str(at + size) if at + size < len(items) else then
        body = {"items": items[at : at + size], "nextCursor": more}
        found[f"/v1/projects?{urlencode({'limit': size, **cursor})}"] = body
    return found


def partner(name: str, **fields: Any) -> dict[str, Any]:
    """A project of Layers.com."""
    said = {"id": f"prj_{name}", "name": name, "status": "active"}
    return {**said, "createdAt": CREATED, "updatedAt": CREATED, **fields}


def numbered_list(items: Sequence[Any], *, size: int, total: int | None = None) -> Answers:
    """The pages of Statsig's layers, and the project of the key."""
    found: Answers = {"/console/v1/project": {"data": {"id": "p"}}}
    found["/console/v1/settings/project"] = {"data": {"name": "Project"}}
    for number, at in enumerate(range(0, len(items), size) or (0,), 1):
        more = f"?page={number + 1}" if at + size < len(items) else None
        pagination: dict[str, Any] = {"pageNumber": number, "nextPage": more}
        pagination["totalItems"] = len(items) if total is None else total
        body = {"data": items[at : at + size], "pagination": pagination}
        found[f"/console/v1/layers?limit={size}&page={number}"] = body
    return found


def statsig_layer(name: str, **fields: Any) -> dict[str, Any]:
    """A layer of Statsig, created long ago."""
    people = dict.fromkeys(("lastModifierID", "creatorID", "creatorName", "creatorEmail"), "x")
    people |= {"lastModifierName": "x", "lastModifierEmail": "x"}
    times = {"createdTime": 1_678_122_232_525, "lastModifiedTime": 1_702_925_736_079}
    said = {"id": name, "description": "", "idType": "userID", "isImplicitLayer": False}
    lists: dict[str, Any] = {"tags": [], "targetApps": [], "holdoutIDs": [], "parameters": []}
    return {**said, **people, **times, **lists, **fields}


def offset_list(path: str, items: Sequence[Any], *, size: int, total: int | None = None) -> Answers:
    """A list of LaunchDarkly from every place where a page of it may begin."""
    found: Answers = {}
    for at in range(max(1, len(items))):
        href = f"{path}?limit={size}&offset={at + size}&sort=createdOn"
        links = {"next": {"href": href}} if at + size < len(items) else {}
        body: dict[str, Any] = {"items": items[at : at + size], "_links": links}
        body["totalCount"] = len(items) if total is None else total
        found[f"{path}?limit={size}&offset={at}&sort=createdOn"] = body
    return found


PROJECTS = "/api/v2/projects"
BARE: dict[str, Any] = {"environments": False}


def ld_project(key: str, **fields: Any) -> dict[str, Any]:
    """A project of LaunchDarkly, whose id is made of its key."""
    said = {"_id": f"id-{key}", "key": key, "name": key.upper(), "tags": []}
    return {**said, "includeInSnippetByDefault": False, **fields}


def ld_layer(key: str, **fields: Any) -> dict[str, Any]:
    """A layer of LaunchDarkly."""
    said = {"key": key, "name": key.upper(), "description": "", "createdAt": 1_700_000_000_000}
    return {**said, "randomizationUnit": "user", "environments": {}, **fields}


def ld_environment(key: str, **fields: Any) -> dict[str, Any]:
    """An environment of LaunchDarkly, without its keys."""
    flags = ("secureMode", "defaultTrackEvents", "requireComments", "confirmChanges", "critical")
    said: dict[str, Any] = {"_id": f"env-{key}", "key": key, "name": key, "tags": []}
    said |= {"color": "F5A623", "defaultTtl": 0} | dict.fromkeys(flags, False)
    return {**said, **fields}


def ld_account(layers: Mapping[str, Sequence[Any]], *, size: int = 20) -> Answers:
    """An account without environments. layers: key of a project -> its layers."""
    projects = [ld_project(key) for key in layers]
    found: Answers = {"/api/v2/caller-identity": {"accountId": "one"}}
    found |= offset_list(PROJECTS, projects, size=size)
    found |= {f"{PROJECTS}/{one['key']}": one for one in projects}
    for key, some in layers.items():
        found[f"{PROJECTS}/{key}/layers"] = {"items": list(some), "totalCount": len(some)}
    return found


def ld(engine: Engine, answers: Answers, *, size: int = 20, **limits: Any) -> Vendor:
    """LaunchDarkly without environments."""
    options = {"projects": {**BARE, "page_size": size}}
    return Vendor(
        engine=engine, provider="launchdarkly", answers=answers, options=options, limits=limits
    )


def statsig(engine: Engine, answers: Answers, *, size: int, **limits: Any) -> Vendor:
    """Statsig with small pages."""
    options = {"layers": {"page_size": size}}
    return Vendor(
        engine=engine, provider="statsig", answers=answers, options=options, limits=limits
    )


def partners(engine: Engine, answers: Answers, *, size: int, **limits: Any) -> Vendor:
    """Layers.com with small pages."""
    options = {"projects": {"page_size": size}}
    return Vendor(engine=engine, provider="layers", answers=answers, options=options, limits=limits)
