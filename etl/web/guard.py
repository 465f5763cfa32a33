"""Who may read, and what a browser may do with a page: the one door before every route.

It refuses other methods than GET, names that are not this console's (DNS rebinding), and, when a
token is demanded, everybody without it. Every answer gets the same strict headers.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "etl_session"
SESSION_SECONDS = 12 * 3600
LONGEST_FORM = 4096

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Token:
    """What a reader has to know; a session is another secret, valid until the console ends."""

    value: str
    _key: bytes

    @classmethod
    def of(cls, value: str) -> "Token":
        """The token of this text."""
        return cls(value, secrets.token_bytes(32))

    def __repr__(self) -> str:
        return "Token(**********)"

    @property
    def session(self) -> str:
        """What the cookie holds after a login."""
        return hmac.new(self._key, self.value.encode(), hashlib.sha256).hexdigest()

    def opens(self, given: str) -> bool:
        """Whether that is the token; how long it takes tells nothing."""
        return hmac.compare_digest(self.value.encode(), given.encode("utf-8", "replace"))

    def knows(self, session: str) -> bool:
        """Whether that is the session of a login."""
        return hmac.compare_digest(self.session.encode(), session.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """An ASGI application in front of another. hosts: names that are this console's."""

    inner: ASGIApp
    hosts: Collection[str]
    token: Token | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, asks for the token, or lets through."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = await self._refusal(request)
        await (answer or self.inner)(scope, receive, _with_headers(send))

    async def _refusal(self, request: Request) -> Response | None:
        if not is_ours(request.headers.get("host", ""), self.hosts):
            said = "this console does not answer to that name; etl web --allow-host NAME lets it\n"
            return PlainTextResponse(said, 421)
        path = request.url.path
        if self.token is not None and path == "/login" and request.method == "POST":
            return await _log_in(request, self.token)
        if request.method not in ("GET", "HEAD"):
            allowed = {"Allow": "GET, HEAD"}
            return PlainTextResponse("this console only reads\n", 405, headers=allowed)
        free = self.token is None or path.startswith("/static/") or path == "/login"
        return None if free or _is_known(request.headers, self.token) else _ask_for_token(request)


def is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this console.

    An address is fine whatever it is: rebinding makes a foreign *name* lead here.
    """
    name = _without_port(host.strip().lower())
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("localhost", *names)
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host


def _ask_for_token(request: Request) -> Response:
    """People get the form, programs a 401."""
    path = request.url.path
    if "authorization" in request.headers or path.endswith((".csv", ".atom")):
        said = "a token is needed: Authorization: Bearer TOKEN\n"
        return PlainTextResponse(said, 401, headers={"WWW-Authenticate": "Bearer"})
    wanted = path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)


def is_local(path: str) -> bool:
    """Whether a redirect to that stays here."""
    return path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()


def _is_known(headers: Headers, token: Token | None) -> bool:
    if token is None:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.opens(given.strip()):
        return True
    return token.knows(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))


async def _log_in(request: Request, token: Token) -> Response:
    """Reads the form: a redirect with a cookie, or back to the form."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            return PlainTextResponse("too long\n", 413)
    form = parse_qs(body.decode("utf-8", "replace"))
    given, wanted = (form.get(name, [""])[0] for name in ("token", "next"))
    wanted = wanted if is_local(wanted) else "/"
    if not token.opens(given.strip()):
        return RedirectResponse(f"/login?failed=1&next={quote(wanted, safe='')}", 303)
    answer = RedirectResponse(wanted, 303)
    answer.set_cookie(COOKIE, token.session, max_age=SESSION_SECONDS, httponly=True, samesite="lax")
    return answer


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "private, no-cache")
        await send(message)

    return sending
