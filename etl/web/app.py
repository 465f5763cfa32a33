"""The console as an ASGI application: routes, one snapshot a page, errors as pages."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from etl.db.engine import snapshot, store_error
from etl.errors import ConfigError
from etl.history import activity, browse, quarantine
from etl.history.activity import OPERATIONS
from etl.history.as_of import ensure_known
from etl.web import feeds, pages, records
from etl.web.download import Download
from etl.web.guard import Guard, Token, is_local
from etl.web.query import (
    MAX_QUERY,
    NUMBER,
    PLACE,
    SEARCH,
    SOURCE,
    SOURCES,
    STREAMS,
    TIME,
    VENDOR,
    PageQuery,
    Parameters,
    asked,
    choice,
    query_texts,
    texts,
)
from etl.web.render import environment, page

Clock = Callable[[], datetime]
Values = Callable[[Connection, PageQuery], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page: the values that its template shows, the parameters it has besides as_of."""

    values: Values
    parameters: Parameters


CHANGES: Parameters = {
    "q": SEARCH,
    "source": SOURCE,
    "stream": choice(*STREAMS),
    "operation": choice(*OPERATIONS),
    "since": TIME,
    "run": NUMBER,
}
_RECORDS: Parameters = {"q": SEARCH, "source": SOURCES, "project": NUMBER, "after": PLACE}
LOGIN: Parameters = {"next": texts(MAX_QUERY), "failed": texts()}

PAGES: Mapping[str, tuple[str, ConsolePage]] = {
    "/": ("overview.html", ConsolePage(pages.overview, {})),
    "/estate": (
        "estate.html",
        ConsolePage(
            records.estate,
            {
                **_RECORDS,
                "stream": choice(*STREAMS, default=STREAMS[0]),
                "state": choice(*records.STATES, default=records.STATES[0]),
            },
        ),
    ),
    "/records/{stream}/{id}": (
        "record.html",
        ConsolePage(
            records.record,
            {"stream": SEARCH, "id": NUMBER, "old": NUMBER, "new": NUMBER, "before": NUMBER},
        ),
    ),
    "/capacity": (
        "capacity.html",
        ConsolePage(
            records.capacity,
            {**_RECORDS, "environment": texts(1000), "level": choice(*records.LEVELS, default="")},
        ),
    ),
    "/changes": ("changes.html", ConsolePage(pages.changes, {**CHANGES, "before": NUMBER})),
    "/runs": (
        "runs.html",
        ConsolePage(
            pages.runs,
            {"source": SOURCE, "status": choice(*pages.STATUSES), "before": NUMBER},
        ),
    ),
    "/runs/{run}": ("run.html", ConsolePage(pages.run, {"run": NUMBER})),
    "/rejects": (
        "rejects.html",
        ConsolePage(
            pages.rejects,
            {"source": SOURCE, "state": choice("open", "all", default="open"), "before": NUMBER},
        ),
    ),
    "/drift": (
        "drift.html",
        ConsolePage(
            pages.drift,
            {"source": SOURCE, "kind": choice(*quarantine.KINDS), "before": NUMBER},
        ),
    ),
}


def application(
    engine: Engine, *, clock: Clock, hosts: Collection[str] = (), token: Token | None = None
) -> Guard:
    """The console over a database, behind its guard."""
    console = _Console(engine, environment(), clock)
    routes: list[BaseRoute] = [
        Route(path, console.endpoint(*found)) for path, found in PAGES.items()
    ]
    routes += [
        Route("/changes.csv", console.changes_csv),
        Route("/changes.atom", console.changes_atom),
        Route("/login", console.login),
        Mount("/static", StaticFiles(packages=[("etl.web", "static")])),
    ]
    handlers: Any = {
        HTTPException: console.missing,
        ConfigError: console.unclear,
        SQLAlchemyError: console.unreadable,
        Exception: console.broken,
    }
    inner = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(inner=inner, hosts=hosts, token=token, clock=clock)


def _notices(connection: Connection, question: PageQuery) -> Sequence[str]:
    """What a reader of the past should know: of which sources nothing was known then."""
    if question.moment is None:
        return ()
    try:
        return ensure_known(connection, question.moment, now=question.now)
    except ConfigError as error:
        return (str(error),)


def _ensure_there(connection: Connection, question: PageQuery, parameters: Parameters) -> None:
    """ConfigError for a source that never ran, 404 for the changes of a run that is not there."""
    source = question.values.get("source")
    if source:
        known = browse.sources(connection)
        names = {row.source for row in known}
        if parameters["source"] is SOURCES:
            names |= {f"{VENDOR}{row.provider}" for row in known}
        if source not in names:
            there = f"there are {', '.join(sorted(names))}" if names else "nothing was synced yet"
            raise ConfigError(f"source: there is no {source!r}; {there}")
    run = question.values.get("run")
    if run is not None and not activity.has_run(connection, run):
        raise HTTPException(404, f"There is no run {run}.")


class _Console:
    """What the routes share: the database, the templates, the clock."""

    def __init__(self, engine: Engine, templates: Environment, clock: Clock) -> None:
        self._engine = engine
        self._templates = templates
        self._clock = clock

    def endpoint(self, template: str, shown: ConsolePage) -> Callable[[Request], Response]:
        """A route whose page sees one moment of the database."""

        def answer(request: Request) -> Response:
            question = self._asked(request, shown.parameters)
            with snapshot(self._engine) as connection:
                _ensure_there(connection, question, shown.parameters)
                told = {"notices": _notices(connection, question)}
                told |= shown.values(connection, question)
            return self._html(template, question, told)

        return answer

    def changes_csv(self, request: Request) -> Response:
        """The change feed of this question as a file, each piece of it from a snapshot of its own.

        However slowly it is read, no connection waits for the reader.
        """
        question = self._asked(request, CHANGES)
        with snapshot(self._engine) as connection:
            _ensure_there(connection, question, CHANGES)
        named = {"Content-Disposition": 'attachment; filename="changes.csv"'}
        pieces = () if request.method == "HEAD" else feeds.as_csv(self._engine, question)
        return Download(pieces, media_type="text/csv; charset=utf-8", headers=named)

    def changes_atom(self, request: Request) -> Response:
        """The newest changes of this question as an Atom feed."""
        question = self._asked(request, CHANGES)
        with snapshot(self._engine) as connection:
            _ensure_there(connection, question, CHANGES)
            base = str(request.base_url).rstrip("/")
            body = feeds.as_atom(connection, question, base)
        return Response(body, media_type="application/atom+xml")

    def login(self, request: Request) -> Response:
        """The form for the token."""
        question = self._asked(request, LOGIN)
        wanted = question.values["next"]
        values = {
            "failed": bool(question.values["failed"]),
            "next": wanted if is_local(wanted) else "/",
        }
        return self._html("login.html", self._now(request), values)

    def missing(self, request: Request, error: HTTPException) -> Response:
        """What is not there."""
        said = error.detail if error.detail != "Not Found" else "There is no page at this address."
        return self._problem(request, error.status_code, said)

    def unclear(self, request: Request, error: ConfigError) -> Response:
        """What cannot be asked so."""
        return self._problem(request, 400, str(error))

    def unreadable(self, request: Request, error: SQLAlchemyError) -> Response:
        """A database that is away or too busy."""
        return self._problem(request, 503, str(store_error(error, "reading")))

    def broken(self, request: Request, _error: Exception) -> Response:
        """A mistake of this program; what it was goes to the log, not to the reader."""
        said = "This page failed. What `etl web` wrote to its terminal tells why."
        return self._problem(request, 500, said)

    def _asked(self, request: Request, parameters: Parameters) -> PageQuery:
        names = {name: str(value) for name, value in request.path_params.items()}
        query = request.scope["query_string"]
        return asked(request.scope["path"], names, query, self._clock(), parameters)

    def _now(self, request: Request) -> PageQuery:
        """The question without its parameters, for pages that have none."""
        path = request.scope["path"]
        return asked(path if is_local(path) else "/", {}, b"", self._clock(), {})

    def _problem(self, request: Request, status: int, said: str) -> Response:
        """A page that says what is wrong, at the moment looked at when that is a moment."""
        question = self._now(request)
        with suppress(ConfigError):
            texts = query_texts(request.scope["query_string"])
            moment = urlencode({"as_of": texts.get("as_of", "")}).encode()
            question = asked(question.path, {}, moment, question.now, {})
        return self._html("problem.html", question, {"status": status, "said": said}, status)

    def _html(
        self, template: str, question: PageQuery, values: Mapping[str, Any], status: int = 200
    ) -> Response:
        return HTMLResponse(page(self._templates, template, question, values), status)
