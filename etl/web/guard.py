"""Access to the console: the token, hosts, methods, sizes, and security headers.

It refuses other methods than GET, names that are not this console's (DNS rebinding), and, when a
token is demanded, everybody without it. Every answer gets the same strict headers.
"""

import hashlib
import hmac
import ipaddress
import logging
import math
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qs, quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etl.errors import ConfigError
from etl.formatting import safe
from etl.web.query import decoded
from etl.web.throttle import CLIENT_LIMIT, Throttle

log = logging.getLogger("etl.web")

COOKIE = "etl_session"
SESSION_SECONDS = 12 * 3600
MAX_FORM_BYTES = 4096
MAX_PATH = 8192  # bytes
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

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
    clock: Callable[[], datetime]
    throttle: Throttle = field(default_factory=Throttle)

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
        wrong = _unreadable(request.scope)
        if wrong is not None:
            return PlainTextResponse(f"{wrong}\n", 400)
        path: str = request.scope["path"]
        if self.token is not None and path == "/login" and request.method == "POST":
            return await self._log_in(request, self.token)
        if request.method not in ("GET", "HEAD"):
            allowed = {"Allow": "GET, HEAD"}
            return PlainTextResponse("this console only reads\n", 405, headers=allowed)
        free = self.token is None or path.startswith("/static/") or path == "/login"
        return None if free or self.token is None else self._demand(request, self.token)

    def _demand(self, request: Request, token: Token) -> Response | None:
        """None for who has the session or the token."""
        if token.knows(cookie_parser(request.headers.get("cookie", "")).get(COOKIE, "")):
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _ask_for_token(request)
        opened = self._try(request, token, given.strip())
        return opened if isinstance(opened, Response) else None if opened else _unauthorized()

    def _try(self, request: Request, token: Token, given: str) -> bool | Response:
        """Whether that is the token; a refusal while too many were wrong, right or not."""
        client, now = request.client.host if request.client else "", self.clock()
        seconds = self.throttle.blocked(client, now)
        if seconds:
            after = {"Retry-After": str(math.ceil(seconds))}
            said = f"too many wrong tokens: try again in {math.ceil(seconds)} seconds\n"
            return PlainTextResponse(said, 429, headers=after)
        if token.opens(given):
            self.throttle.succeeded(client)
            return True
        times = self.throttle.failed(client, now)
        log.warning(
            "wrong token from %s (%d of %d a minute)", safe(client)[:64], times, CLIENT_LIMIT
        )
        return False

    async def _log_in(self, request: Request, token: Token) -> Response:
        """Reads the form: a redirect with a cookie, or back to the form."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                return PlainTextResponse("too long\n", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        given, wanted = (form.get(name, [""])[0] for name in ("token", "next"))
        wanted = wanted if is_local(wanted) else "/"
        opened = self._try(request, token, given.strip())
        if isinstance(opened, Response):
            return opened
        if not opened:
            return RedirectResponse(f"/login?failed=1&next={quote(wanted, safe='')}", 303)
        answer = RedirectResponse(wanted, 303)
        answer.set_cookie(
            COOKIE,
            token.session,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="lax",
            secure=_is_encrypted(request),
        )
        return answer


def _unreadable(scope: Scope) -> ConfigError | None:
    """Why the path of a request is none; its parameters are read by the page.

    Where a `/` at the end is one too many there is no page, and Starlette reads the query's bytes.
    """
    raw = scope.get("raw_path") or quote(scope["path"], errors="surrogatepass").encode()
    if len(raw) > MAX_PATH:
        return ConfigError(f"the address is too long: its path has over {MAX_PATH:,} bytes")
    try:
        decoded(raw)
        scope["query_string"].decode()
    except ConfigError as error:
        return error
    except UnicodeDecodeError:
        return ConfigError("the address is not percent-encoded UTF-8")
    return None


def _is_encrypted(request: Request) -> bool:
    """Whether the browser came by TLS; a proxy that ends it says so.

    Whoever says so without a proxy only gets a cookie that his browser keeps to himself.
    """
    told = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return "https" in (request.scope["scheme"], told)


def is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this console.

    An address is fine whatever it is: rebinding makes a foreign *name* lead here.
    """
    found = _HOST.fullmatch(host.strip().lower())
    if found is None or int((found[2] or ":0")[1:]) > 65535:
        return False
    name = found[1].strip("[]")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("localhost", *names)
    return True


def _ask_for_token(request: Request) -> Response:
    """People get the form, programs a 401."""
    path: str = request.scope["path"]
    if "authorization" in request.headers or path.endswith((".csv", ".atom")):
        return _unauthorized()
    query = request.scope["query_string"].decode("latin-1")
    wanted = quote(path) + (f"?{query}" if query else "")
    return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)


def _unauthorized() -> Response:
    said = "a token is needed: Authorization: Bearer TOKEN\n"
    return PlainTextResponse(said, 401, headers={"WWW-Authenticate": "Bearer"})


def is_local(path: str) -> bool:
    """Whether a redirect to that stays here."""
    return path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "private, no-cache")
        await send(message)

    return sending
