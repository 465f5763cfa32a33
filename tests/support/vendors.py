"""Three vendors that answer with given records, without a network, and note what they are asked.

LaunchDarkly answers with links, Statsig with page numbers, Layers.com with cursors. The records
may be anything that is JSON; where one has no usable key, nothing hangs on it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from sqlalchemy import Engine

from etl.config.settings import Settings
from etl.errors import RequestRejected
from etl.extract.pages import PageReader
from etl.model import RunReport
from etl.providers.kit import Request, Response
from tests.support.runs import SOURCES, run_with
from tests.support.vendor_schemas import cleaned, digest

Json = Any
GONE: Json = object()


@dataclass(slots=True)
class Vendors:
    """What the vendors hold.

    environments, layers: LaunchDarkly's, by the `_id` of their project.
    envelope: fields that replace those of every list body; GONE removes a field.
    """

    projects: Sequence[Json] = ()
    environments: dict[str, Sequence[Json]] = field(default_factory=dict)
    layers: dict[str, Sequence[Json]] = field(default_factory=dict)
    statsig_layers: Sequence[Json] = ()
    layers_projects: Sequence[Json] = ()
    envelope: dict[str, Json] = field(default_factory=dict)
    asked: list[tuple[str, str, list[tuple[str, str]]]] = field(default_factory=list)

    def fetch(self, provider: str, request: Request) -> Response:
        """The answer to a request; noted in `asked` with its path and query."""
        parts = urlsplit(request.path)
        query = [*parse_qsl(parts.query, keep_blank_values=True), *(request.params or ())]
        self.asked.append((provider, parts.path, query))
        steps = [unquote(step) for step in parts.path.split("/")[1:]]
        answer = getattr(self, f"_{provider}")(steps, dict(query), parts.path)
        if answer is None:
            raise RequestRejected(f"{provider} has no {parts.path}", status=404)
        if any(name in answer for name in ("items", "data", "pagination")):
            answer = {
                name: one for name, one in {**answer, **self.envelope}.items() if one is not GONE
            }
        return Response(status=200, headers={}, body=json.dumps(answer).encode(), url="")

    def _launchdarkly(self, steps: list[str], query: dict[str, str], path: str) -> Json:
        if steps[-1] == "caller-identity":
            return {"accountId": "one"}
        if len(steps) == 3:
            items = [self._shown(one, query) for one in self.projects]
            return _linked(items, query, path)
        project = next((one for one in self.projects if _names(one, "key", steps[3])), None)
        if project is None:
            return None
        if len(steps) == 4:
            return self._shown(project, query)
        held = self.environments if steps[4] == "environments" else self.layers
        return _linked(held.get(project["_id"], ()), query, path)

    def _shown(self, project: Json, query: dict[str, str]) -> Json:
        if query.get("expand") != "environments" or not isinstance(project, dict):
            return project
        held = list(self.environments.get(str(project.get("_id")), ()))
        listed = {"items": held[:20], "totalCount": len(held), "_links": {}}
        return {**project, "environments": listed}

    def _statsig(self, steps: list[str], query: dict[str, str], path: str) -> Json:
        if steps[2] == "project":
            return {"message": "", "data": {"id": "company_id"}}
        if steps[2] == "settings":
            return {"message": "", "data": {"name": "My Project"}}
        if len(steps) == 4:
            found = [one for one in self.statsig_layers if _names(one, "id", steps[3])]
            return {"message": "", "data": found[0]} if found else None
        limit, page = int(query["limit"]), int(query["page"])
        items = list(self.statsig_layers)[limit * (page - 1) : limit * page]
        more = limit * page < len(self.statsig_layers)
        pagination = {
            "itemsPerPage": limit,
            "pageNumber": page,
            "totalItems": len(self.statsig_layers),
            "nextPage": f"{path}?page={page + 1}&limit={limit}" if more else None,
            "previousPage": None,
        }
        return {"message": "Layers listed.", "data": items, "pagination": pagination}

    def _layers(self, steps: list[str], query: dict[str, str], _path: str) -> Json:
        if steps[-1] == "whoami":
            return {"organizationId": "one"}
        if len(steps) == 3:
            name = steps[2].removeprefix("prj_")
            found = [
                one
                for one in self.layers_projects
                if _names(one, "id", name) or _names(one, "id", f"prj_{name}")
            ]
            return found[0] if found else None
        first, limit = int(query.get("cursor", "0")), int(query["limit"])
        more = first + limit < len(self.layers_projects)
        items = list(self.layers_projects)[first : first + limit]
        return {"items": items, "nextCursor": str(first + limit) if more else None}


@dataclass(slots=True)
class Estate:
    """A database and runs of three sources against given vendors."""

    engine: Engine
    vendors: Vendors
    settings: Settings

    def sync(self, source: str, at: datetime, **wish: Any) -> RunReport:
        """One run of a source at that moment."""
        provider = SOURCES[source]
        reader = PageReader(
            fetch=lambda request: self.vendors.fetch(provider, request), fingerprint=digest
        )
        wish = {"force_deletes": True, **wish}
        return run_with(self.engine, self.settings, source, reader, clock=lambda: at, **wish)


def _linked(items: Sequence[Json], query: dict[str, str], path: str) -> Json:
    limit = int(query.get("limit", len(items) + 1))
    offset = int(query.get("offset", 0))
    following = urlencode({**query, "offset": offset + limit})
    more = {"next": {"href": f"{path}?{following}", "type": "application/json"}}
    links = more if offset + limit < len(items) else {}
    shown = list(items)[offset : offset + limit]
    return {"items": shown, "totalCount": len(items), "_links": links}


def _names(item: Json, field_: str, text: str) -> bool:
    return isinstance(item, dict) and cleaned(item.get(field_)) == text
