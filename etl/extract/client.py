"""The one network module: GET requests to one origin, with caps, a deadline and the retry loop.

The key travels in a header to the configured origin only: another scheme, host or port in a link
or a redirect is refused. Nothing else of etl sends requests, waits or retries.
"""

import logging
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from io import BytesIO
from typing import Protocol

import httpcore
import httpx

from etl.errors import (
    AccessDenied,
    ConnectionFailed,
    ProtocolError,
    RateLimited,
    RequestRejected,
    SourceError,
    TransientError,
)
from etl.extract.codings import BrokenCoding, UnknownCoding, decoded
from etl.extract.deadline import CONNECTIONS, LeftoverError, Sockets, Transport
from etl.extract.network_faults import Route, classify
from etl.extract.retry import Failure, is_asked, is_retryable, pause_after, wait_before_retry
from etl.json_text import one_line, vendor_message
from etl.log_fields import fields
from etl.providers.kit import Json, Request, Response, Traffic
from etl.providers.wire import is_closed, parse, redact, start_of
from etl.redaction import MIN_MASKED_KEY_LENGTH
from etl.signals import wait_in_pieces

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5
MAX_ERROR_BODY = 2**16  # bytes of an error that are read
MAX_MESSAGE = 500  # characters of what an error says


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often one request may be tried.

    seconds: the longest single wait; attempts: tries in all; timeout: seconds for one whole
    answer, from the connection to its last byte; max_body: bytes of one decoded answer;
    spared: the share of an announced limit that is left to others.
    """

    seconds: float = 120.0
    attempts: int = 6
    timeout: float = 60.0
    max_body: int = 8 * 2**20
    spared: float = 0.0


class RateLimiter(Protocol):
    """Who says when the next request may be sent, for everyone with this key."""

    def turn(self) -> float:
        """When, in epoch seconds."""

    def waited(self, turn: float) -> float:
        """The turn after the wait for it: the same, or a later one where others go first."""

    def block(self, until: float, reason: str = "") -> None:
        """Nobody asks before that moment: the vendor refused, for that reason."""

    def reason(self) -> str:
        """Why nobody asks now: what a refusal said, or nothing where there was none."""


class Unlimited:
    """Turns without a budget."""

    def turn(self) -> float:
        """Now."""
        return 0.0

    def waited(self, turn: float) -> float:
        """The same."""
        return turn

    def block(self, until: float, reason: str = "") -> None:
        """Nobody else to tell."""

    def reason(self) -> str:
        """No refusal is remembered."""
        return ""


def _no_message(_body: Json) -> str:
    return ""


@dataclass(slots=True, kw_only=True)
class Client:
    """GETs to one origin with one key; usable from several threads; close() when done."""

    source: str
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    error_message: Callable[[Json], str] = _no_message
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], object] | None = None
    clock: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random
    traffic: Traffic = field(default_factory=Traffic)
    turns: RateLimiter = field(default_factory=Unlimited)
    proxy: str | None = field(default=None, repr=False)
    ignored_proxies: Sequence[str] = ()
    _http: httpx.Client = field(init=False, repr=False)
    _http_alone: httpx.Client = field(init=False, repr=False)
    _sockets: Sockets = field(init=False, repr=False)
    _origin: httpx.URL = field(init=False, repr=False)
    _route: Route = field(init=False, repr=False)
    _has_answered: bool = field(default=False, init=False)
    _not_before: float = field(default=0.0, init=False)
    _because: str = field(default="", init=False)
    _in_flight: int = field(default=0, init=False)
    _most_in_flight: int = field(default=0, init=False)
    _pauses: int = field(default=0, init=False)
    _paused_since: float = field(default=0.0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _answers: threading.Condition = field(init=False, repr=False)
    _closed: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _asking: threading.local = field(default_factory=threading.local, init=False, repr=False)

    def __post_init__(self) -> None:
        self._answers = threading.Condition(self._lock)
        self._origin = httpx.URL(self.base_url)
        proxy = None if self.proxy is None else httpx.Proxy(self.proxy)
        self._route = Route(
            host=self._origin.netloc.decode(),
            proxy="" if proxy is None else proxy.url.netloc.decode(),
            ignored=self.ignored_proxies,
        )
        self._sockets = Sockets(self._within)
        tls = ssl.create_default_context() if self._origin.scheme == "https" else None
        self._http, self._http_alone = (
            self._http_client(Transport(self._sockets, tls, kept=kept, proxy=proxy))
            for kept in (CONNECTIONS, 0)
        )

    def _http_client(self, transport: Transport) -> httpx.Client:
        return httpx.Client(
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": "etl",
                **self.headers,
            },
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none is kept
        )

    def finish(self) -> None:
        """No request begins any more; threads that wait end with a TransientError."""
        self._closed.set()

    def answered(self, within: float) -> bool:
        """Waits so many seconds at most until no request is in flight; whether there is none."""
        with self._answers:
            return self._answers.wait_for(lambda: self._in_flight == 0, within)

    def close(self) -> None:
        """Closes the connections; threads that wait or fetch end with a TransientError."""
        self._closed.set()
        self._sockets.shut()
        self._http.close()
        self._http_alone.close()

    def fetch(self, request: Request) -> Response:
        """The answer to a GET; waits and asks again where that makes sense.

        An answer that may be another request's is asked for again at once, on a connection of its
        own; so is every request that says `alone`.

        Raises AccessDenied (401, 403), RequestRejected (other 4xx), ProtocolError (a foreign link
        or redirect, too large, no JSON), RateLimited (a wait beyond patience), ConnectionFailed,
        TransientError.
        """
        url = self._resolve(request)
        visited = [url]
        attempt, http = 0, self._http_alone if request.alone else self._http
        while True:
            attempt += 1
            outcome = self._ask(url, http)
            if isinstance(outcome, Response):
                return outcome
            if isinstance(outcome, LeftoverError):
                attempt, http = attempt - 1, self._http_alone
            elif outcome.status in REDIRECTS and outcome.headers.get("location"):
                url = self._redirected(outcome, visited)
                visited.append(url)
            elif len(visited) > 1 and _is_refusal(outcome):
                # of a 404 above all: it is about another address than the one that was asked for
                raise self._protocol_error(f"a redirect led to {outcome.reason}", url)
            else:
                self._before_retry(outcome, url, attempt)

    def _ask(self, url: httpx.URL, http: httpx.Client) -> Response | Failure | LeftoverError:
        """One request, when its turn has come."""
        self._wait_for_turn(url)
        try:
            return self._once(url, http)
        finally:
            with self._answers:
                self._in_flight -= 1
                self._answers.notify_all()

    def _before_retry(self, failure: Failure, url: httpx.URL, attempt: int) -> None:
        """Waits; raises the failure where no other try follows."""
        now = self.clock()
        wait = wait_before_retry(failure, attempt, now=now, jitter=self.jitter())
        asked = is_asked(failure, now=now)
        because = f"{failure.reason} ({_shown(url)})"
        if wait is not None and wait > self.patience.seconds and asked:
            self.turns.block(now + wait, because)
            raise self._too_long(wait, url, failure.reason, failure.status)
        if self._closed.is_set():
            raise TransientError("stopped", source=self.source, url=_shown(url))
        if wait is None or wait > self.patience.seconds or attempt >= self.patience.attempts:
            raise self._error(failure, url, attempt)
        log.info(
            "%s: %s; trying again in %.1f s",
            self.source,
            failure.reason,
            wait,
            extra=fields(
                "request retried", source=self.source, reason=failure.reason, seconds=wait
            ),
        )
        self._retry_after(wait, because, everyone=failure.status == 429)

    def _redirected(self, answer: Failure, visited: Sequence[httpx.URL]) -> httpx.URL:
        """Where a redirect leads; only within the origin, and only with the query of the request.

        Another query would be another list, or another page of it.
        """
        url, location = visited[-1], answer.headers["location"]
        try:
            target = url.join(location).copy_with(fragment=None)
        except httpx.InvalidURL:
            raise self._protocol_error(f"{answer.reason}: a redirect to no URL", url) from None
        shown, origin = _shown(target), f"{target.scheme}://{target.netloc.decode()}"
        if _origin(target) != _origin(self._origin):
            why = (
                f"it is not followed, as the key belongs to {self._origin}; if the provider has "
                f'moved, set base_url = "{origin}"'
            )
        elif target.query != url.query or target.userinfo:
            why = "it is not followed, as it asks for something else"
        elif target in visited or len(visited) > MAX_REDIRECTS:
            why = "the redirects do not end"
        else:
            return target
        raise self._protocol_error(f"{answer.reason}: a redirect to {shown}; {why}", url, answer)

    def _protocol_error(
        self, message: str, url: httpx.URL, answer: Failure | None = None
    ) -> ProtocolError:
        status = None if answer is None else answer.status
        return ProtocolError(message, source=self.source, url=_shown(url), status=status)

    def _resolve(self, request: Request) -> httpx.URL:
        try:
            url = self._origin.join(request.path)
        except httpx.InvalidURL as error:
            raise ProtocolError(f"a link is no URL: {error}", source=self.source) from error
        if _origin(url) != _origin(self._origin) or url.userinfo:
            elsewhere = f"{url.scheme}://{url.raw_host.decode()}"
            raise ProtocolError(
                f"a link leads to another origin, {elsewhere}; the key is not sent",
                source=self.source,
            )
        # params= would replace the query of a next link, so a complete URL gets none
        return url if request.params is None else url.copy_merge_params(list(request.params))

    def _wait_for_turn(self, url: httpx.URL) -> None:
        """Returns when this request may be sent, and counts it as in flight from then on."""
        turn = self.turns.turn()
        while not self._closed.is_set():
            with self._lock:
                wait = max(turn, self._not_before) - self.clock()
                if wait <= 0:
                    self._in_flight += 1
                    self._most_in_flight = max(self._most_in_flight, self._in_flight)
                    return
            if wait > self.patience.seconds:
                raise self._too_long(wait, url, self._because or self.turns.reason())
            self._pause(wait)  # meanwhile another thread may have been told to wait longer
            turn = self.turns.waited(turn)
        raise TransientError("stopped", source=self.source, url=_shown(url))

    def _retry_after(self, wait: float, because: str, *, everyone: bool) -> None:
        with self._lock:
            self.traffic.retries += 1
            if everyone:
                self._not_before = max(self._not_before, self.clock() + wait)
                self._because = because
        if everyone:
            self.turns.block(self.clock() + wait, because)
        else:
            self._pause(wait)

    def _pause(self, seconds: float) -> None:
        self._note_pause(+1)
        try:
            if self.sleep is not None:
                self.sleep(seconds)
            else:
                wait_in_pieces(self._closed.wait, seconds)
        finally:
            self._note_pause(-1)

    def _note_pause(self, change: int) -> None:
        """A pause begins or ends; what several threads wait at the same time counts once."""
        with self._lock:
            now = self.clock()
            if self._pauses:
                self.traffic.waited += max(0.0, now - self._paused_since)
            self._paused_since = now
            self._pauses += change

    def _once(self, url: httpx.URL, http: httpx.Client) -> Response | Failure | LeftoverError:
        with self._lock:
            self.traffic.requests += 1
        self._asking.deadline = self.clock() + self.patience.timeout
        try:
            with http.stream("GET", url) as answer:
                status = answer.status_code
                headers = {name.lower(): value for name, value in answer.headers.items()}
                body = self._read(answer)
        except httpx.LocalProtocolError:  # its message shows the header with the key
            raise AccessDenied(
                "the key cannot be sent: it holds characters that no HTTP header may hold",
                source=self.source,
                url=_shown(url),
            ) from None
        except (httpx.TransportError, httpcore.ReadTimeout) as error:
            if isinstance(error.__cause__, LeftoverError):
                return error.__cause__
            return self._unanswered(error, url)
        except (BrokenCoding, httpx.DecodingError) as error:
            return Failure(reason=f"the body cannot be decoded: {error}", broken=True)
        except UnknownCoding as error:
            raise self._protocol_error(f"the body cannot be decoded: {error}", url) from None
        self._has_answered = True
        self._note_budget(headers)
        if status != 200:
            return self._failure(status, headers, body)
        if not _is_whole(body, headers):
            start = self._redacted(start_of(body))
            reason = f"the body is {_lack(body)}, it starts {start!r}"
            return Failure(reason=reason, broken=True)
        log.debug(
            "%s: 200 %s %d bytes",
            self.source,
            url.path,
            len(body),
            extra=fields("page read", source=self.source, path=url.path, bytes=len(body)),
        )
        return Response(status=status, headers=headers, body=self._own(body), url=_shown(url))

    def _unanswered(self, error: Exception, url: httpx.URL) -> Failure:
        if str(error).startswith("Invalid URL in location"):  # httpx reads it unasked
            raise self._protocol_error("a redirect to no URL", url) from None
        if self.clock() >= self._asking.deadline:
            late = f"not whole after {self.patience.timeout:g} s"
            return Failure(reason=f"{type(error).__name__}: {late}")
        fault = classify(error, self._route, has_answered=self._has_answered)
        kind = "" if fault.lasting else f"{type(error).__name__}: "
        reason = self._redacted(f"{kind}{fault.reason}")
        return Failure(
            reason=reason, remedy=fault.remedy, lasting=fault.lasting, broken=fault.broken
        )

    def _read(self, answer: httpx.Response) -> bytes:
        """The decoded body; of an error, which is only shown, no more than its start."""
        body, size, most = BytesIO(), 0, self.patience.max_body
        coding = answer.headers.get("content-encoding", "")
        for chunk in decoded(answer.iter_raw(), coding):
            size += len(chunk)
            if answer.status_code != 200 and size > MAX_ERROR_BODY:
                break
            if size > most:
                message = f"the body is larger than {most} bytes (limits.max_body_mb)"
                raise self._protocol_error(message, answer.url)
            body.write(chunk)
            self._within(None)
        return body.getvalue()  # no copy, as joining the chunks would make one

    def _within(self, timeout: float | None) -> float:
        """The seconds that this thread may wait now; httpcore.ReadTimeout at its deadline.

        Sockets ask before each of their waits: httpx's own limits begin anew with every byte.
        """
        left: float = self._asking.deadline - self.clock()
        if left < 0:
            raise httpcore.ReadTimeout("the deadline")
        return left if timeout is None else min(timeout, left)

    def _note_budget(self, headers: Mapping[str, str]) -> None:
        now = self.clock()
        with self._lock:
            # each of the other threads may have sent one more by now, or be about to
            others, spared = self._most_in_flight - 1, self.patience.spared
            pause = pause_after(headers, now=now, others=others, spared=spared)
            if pause > 0:
                self._not_before = max(self._not_before, now + pause + self.jitter())

    def _failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an answer other than 200 came to."""
        said = self.said(_json_or_none(body)) or self._redacted(_start_of_text(body))
        reason = f"{status} {said or _phrase(status)}".strip()
        if status != 407:
            return Failure(reason=reason, status=status, headers=headers)
        return Failure(reason=reason, status=status, headers=headers, remedy="Check the proxy")

    def said(self, body: Json) -> str:
        """The code and message of an error that the provider sent, without secrets."""
        own = self.error_message(body) if body is not None else ""
        known = own if any(map(str.isalnum, own)) else vendor_message(body)
        return self._redacted(known)  # Statsig's 401 echoes the key that was sent

    def _redacted(self, text: str) -> str:
        short = text[: 4 * MAX_MESSAGE]
        hidden = redact(short.replace(self.secret, "[key]") if self.secret else short)
        return one_line(hidden)[:MAX_MESSAGE]

    def _own(self, body: bytes) -> bytes:
        """The body without the key that was sent, which a vendor may repeat anywhere in it."""
        key = self.secret.encode()
        return body.replace(key, b"[key]") if len(key) >= MIN_MASKED_KEY_LENGTH else body

    def _error(self, failure: Failure, url: httpx.URL, attempts: int) -> SourceError:
        tries = f" after {attempts} tries" if attempts > 1 else ""
        remedy = f". {failure.remedy}" if failure.remedy else ""
        kind, status = _kind_of(failure), failure.status
        message = f"{failure.reason}{tries}{remedy}"
        return kind(message, source=self.source, url=_shown(url), status=status)

    def _too_long(
        self, wait: float, url: httpx.URL, cause: str, status: int | None = 429
    ) -> RateLimited:
        """The provider's words first, then what they lead to."""
        retry_at = datetime.fromtimestamp(min(self.clock() + wait, 4e9), UTC)
        until = f"{retry_at:%Y-%m-%d %H:%M:%S}Z"
        first = f"{cause}; it asks" if cause else "the rate limit asks"
        ask_now = "; `etl sync --retry-now` asks before that time" if cause else ""
        return RateLimited(
            f"{first} to wait until {until}, {wait:.0f} s, and a run waits "
            f"{self.patience.seconds:g} s at most; the next run resumes from here{ask_now}",
            retry_at=retry_at,
            source=self.source,
            url=_shown(url),
            status=status,
        )


def _is_refusal(failure: Failure) -> bool:
    return failure.status is not None and not is_retryable(failure.status)


def _kind_of(failure: Failure) -> type[SourceError]:
    status = failure.status
    if failure.lasting:
        return ConnectionFailed
    if status is None:
        return ProtocolError if failure.broken else TransientError
    if status in (401, 403):
        return AccessDenied
    if is_retryable(status) or status >= 500:
        return TransientError
    return RequestRejected if status >= 400 else ProtocolError


def _json_or_none(body: bytes) -> Json:
    try:
        return parse(body) if body else None
    except ProtocolError:
        return None


def _lack(body: bytes) -> str:
    """What a body is that is not whole; a value such as null may be all that was sent."""
    if body.rstrip()[-1:] in (b"}", b"]"):
        return "not whole JSON"
    try:
        parse(body)
    except ProtocolError:
        return "not whole JSON"
    return "no object and no list of JSON"


_TITLE = re.compile(rb"<title[^>]*>([^<]+)", re.IGNORECASE)


def _start_of_text(body: bytes) -> str:
    """What an error that is no JSON says: the title of a page, or the start of the text."""
    title = _TITLE.search(body)
    text = (title[1] if title else body).decode("utf-8", "replace").strip()
    return "" if text.startswith(("{", "[", "<")) else text[:100]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    default = {"https": 443, "http": 80}.get(url.scheme)
    # raw_host, because host decodes IDNA, which raises on a malformed one
    return url.scheme, url.raw_host, url.port or default


def _shown(url: httpx.URL) -> str:
    """A URL for messages: its query may hold e-mails and cursors, so only names of parameters."""
    names = ",".join(dict.fromkeys(url.params.keys()))
    return f"{url.scheme}://{url.netloc.decode()}{url.path}" + (f"?{names}" if names else "")


def _is_whole(body: bytes, headers: Mapping[str, str]) -> bool:
    """A connection closed early gives a 200 with half a body and no error; JSON ends in a brace.

    Half a body may end in one too. Where the answer said how long it is, httpx has compared.
    """
    if body.rstrip()[-1:] not in (b"}", b"]"):
        return False
    return "content-length" in headers or "transfer-encoding" in headers or is_closed(body)
