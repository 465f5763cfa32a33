"""The console as an ASGI application: routes, one snapshot a page, errors as pages."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from etl.db.asof import ensure_known
from etl.db.engine import snapshot, store_error
from etl.errors import ConfigError
from etl.web import estate, feeds, pages
from etl.web.asked import Asked, asked
from etl.web.guard import Guard, Token, is_local
from etl.web.render import environment, page

Page = Callable[[Connection, Asked], Mapping[str, Any]]
Clock = Callable[[], datetime]

PAGES: Mapping[str, tuple[str, Page]] = {
    "/": ("overview.html", pages.overview),
    "/estate": ("estate.html", estate.estate),
    "/records/{stream}/{id}": ("record.html", estate.record),
    "/capacity": ("capacity.html", estate.capacity),
    "/changes": ("changes.html", pages.changes),
    "/runs": ("runs.html", pages.runs),
    "/runs/{run}": ("run.html", pages.run),
    "/rejects": ("rejects.html", pages.rejects),
    "/drift": ("drift.html", pages.drift),
}


def application(
    engine: Engine, *, clock: Clock, hosts: Collection[str] = (), token: Token | None = None
) -> Guard:
    """The console over a database, behind its guard."""
    console = _Console(engine, environment(), clock)
    routes: list[BaseRoute] = [
        Route(path, console.endpoint(template, values))
        for path, (template, values) in PAGES.items()
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
    return Guard(inner=inner, hosts=hosts, token=token)


def _notices(connection: Connection, question: Asked) -> Sequence[str]:
    """What a reader of the past should know: of which sources nothing was known then."""
    if question.moment is None:
        return ()
    try:
        return ensure_known(connection, question.moment, now=question.now)
    except ConfigError as error:
        return (str(error),)


class _Console:
    """What the routes share: the database, the templates, the clock."""

    def __init__(self, engine: Engine, templates: Environment, clock: Clock) -> None:
        self._engine = engine
        self._templates = templates
        self._clock = clock

    def endpoint(self, template: str, values: Page) -> Callable[[Request], Response]:
        """A route whose page sees one moment of the database."""

        def answer(request: Request) -> Response:
            question = self._asked(request)
            with snapshot(self._engine) as connection:
                told = {"notices": _notices(connection, question)}
                told |= values(connection, question)
            return self._html(template, question, told)

        return answer

    def changes_csv(self, request: Request) -> Response:
        """The change feed of this question as a file."""
        question = self._asked(request)
        pages.wanted_changes(question)

        def rows() -> Iterator[bytes]:
            with snapshot(self._engine) as connection:
                yield from feeds.as_csv(connection, question)

        named = {"Content-Disposition": 'attachment; filename="changes.csv"'}
        return StreamingResponse(rows(), media_type="text/csv; charset=utf-8", headers=named)

    def changes_atom(self, request: Request) -> Response:
        """The newest changes of this question as an Atom feed."""
        with snapshot(self._engine) as connection:
            base = str(request.base_url).rstrip("/")
            body = feeds.as_atom(connection, self._asked(request), base)
        return Response(body, media_type="application/atom+xml")

    def login(self, request: Request) -> Response:
        """The form for the token."""
        wanted = request.query_params.get("next", "/")
        values = {
            "failed": "failed" in request.query_params,
            "next": wanted if is_local(wanted) else "/",
        }
        return self._html("login.html", self._now(request), values)

    def missing(self, request: Request, error: HTTPException) -> Response:
        """What is not there."""
        return self._problem(request, error.status_code, error.detail)

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

    def _asked(self, request: Request) -> Asked:
        names = {name: str(value) for name, value in request.path_params.items()}
        return asked(request.url.path, names, dict(request.query_params), self._clock())

    def _now(self, request: Request) -> Asked:
        """The question without its parameters, for pages that have none."""
        return asked(request.url.path, {}, {}, self._clock())

    def _problem(self, request: Request, status: int, said: str) -> Response:
        """A page that says what is wrong, at the moment looked at when that is a moment."""
        try:
            question = self._asked(request)
        except ConfigError:
            question = self._now(request)
        return self._html("problem.html", question, {"status": status, "said": said}, status)

    def _html(
        self, template: str, question: Asked, values: Mapping[str, Any], status: int = 200
    ) -> Response:
        return HTMLResponse(page(self._templates, template, question, values), status)
