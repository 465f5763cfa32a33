"""The one network module: GET requests to one origin, with caps, a deadline and the retry loop.

The key travels in a header to the configured origin only: another scheme, host or port in a link
is refused, redirects are not followed. Nothing else of etl imports httpx, waits or retries.
"""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import httpcore
import httpx

from etl.errors import (
    AccessDenied,
    ProtocolError,
    RateLimited,
    RequestRejected,
    SourceError,
    TransientError,
)
from etl.retry import Failure, pause_after, wait_before_retry
from etl.signals import wait_in_pieces
from etl.sockets import CONNECTIONS, LeftoverError, Sockets, Transport, unpacked
from etl.stream import Json, Request, Response, Traffic
from etl.wire import parse, redact, start_of

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
LONGEST_BLOCK = 86400.0  # a reset in the year 58858 must not stop everyone for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often one request may be tried.

    seconds: the longest single wait; attempts: tries in all; timeout: seconds for one whole
    answer, from the connection to its last byte; max_body: bytes of one decoded answer;
    spared: the share of an announced limit that is left to others.
    """

    seconds: float = 120.0
    attempts: int = 6
    timeout: float = 60.0
    max_body: int = 64 * 2**20
    spared: float = 0.0


class Turns(Protocol):
    """Who says when the next request may be sent, for everyone with this key."""

    def turn(self) -> float:
        """When, in epoch seconds."""

    def waited(self, turn: float) -> float:
        """The turn after the wait for it: the same, or a later one where others go first."""

    def block(self, until: float) -> None:
        """Nobody asks before that moment: the vendor refused."""


class Unlimited:
    """Turns without a budget."""

    def turn(self) -> float:
        """Now."""
        return 0.0

    def waited(self, turn: float) -> float:
        """The same."""
        return turn

    def block(self, until: float) -> None:
        """Nobody else to tell."""


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
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], object] | None = None
    clock: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random
    traffic: Traffic = field(default_factory=Traffic)
    turns: Turns = field(default_factory=Unlimited)
    _http: httpx.Client = field(init=False, repr=False)
    _http_alone: httpx.Client = field(init=False, repr=False)
    _sockets: Sockets = field(init=False, repr=False)
    _origin: httpx.URL = field(init=False, repr=False)
    _not_before: float = field(default=0.0, init=False)
    _in_flight: int = field(default=0, init=False)
    _most_in_flight: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _answers: threading.Condition = field(init=False, repr=False)
    _closed: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _asking: threading.local = field(default_factory=threading.local, init=False, repr=False)

    def __post_init__(self) -> None:
        self._answers = threading.Condition(self._lock)
        self._origin = httpx.URL(self.base_url)
        self._sockets = Sockets(self._within)
        tls = ssl.create_default_context() if self._origin.scheme == "https" else None
        self._http = self._http_client(Transport(self._sockets, tls, kept=CONNECTIONS))
        self._http_alone = self._http_client(Transport(self._sockets, tls, kept=0))

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

        Raises AccessDenied (401, 403), RequestRejected (other 4xx), ProtocolError (a foreign link,
        a redirect, too large, no JSON), RateLimited (a wait beyond patience), TransientError.
        """
        url = self._resolve(request)
        attempt, http = 0, self._http_alone if request.alone else self._http
        while True:
            attempt += 1
            self._wait_for_turn(url)
            try:
                outcome = self._once(url, http)
            finally:
                with self._answers:
                    self._in_flight -= 1
                    self._answers.notify_all()
            if isinstance(outcome, Response):
                return outcome
            if isinstance(outcome, LeftoverError):
                attempt, http = attempt - 1, self._http_alone
                continue
            wait = wait_before_retry(outcome, attempt, now=self.clock(), jitter=self.jitter())
            if wait is not None and wait > self.patience.seconds:
                self.turns.block(self.clock() + min(wait, LONGEST_BLOCK))
                raise self._too_long(wait, url)
            if self._closed.is_set():
                raise TransientError("stopped", source=self.source, url=_shown(url))
            if wait is None or attempt >= self.patience.attempts:
                raise self._error(outcome, url, attempt)
            log.info("%s: %s; trying again in %.1f s", self.source, outcome.reason, wait)
            self._retry_after(wait, everyone=outcome.status == 429)

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
                raise self._too_long(wait, url)
            self._pause(wait)  # meanwhile another thread may have been told to wait longer
            turn = self.turns.waited(turn)
        raise TransientError("stopped", source=self.source, url=_shown(url))

    def _retry_after(self, wait: float, *, everyone: bool) -> None:
        with self._lock:
            self.traffic.retries += 1
            if everyone:
                self._not_before = max(self._not_before, self.clock() + wait)
        if everyone:
            self.turns.block(self.clock() + wait)
        else:
            self._pause(wait)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self.traffic.waited += seconds
        if self.sleep is not None:
            self.sleep(seconds)
        else:
            wait_in_pieces(self._closed.wait, seconds)

    def _once(self, url: httpx.URL, http: httpx.Client) -> Response | Failure | LeftoverError:
        with self._lock:
            self.traffic.requests += 1
        self._asking.deadline = self.clock() + self.patience.timeout
        try:
            with http.stream("GET", url) as answer:
                body = self._read(answer)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                status = answer.status_code
        except httpx.LocalProtocolError:  # its message shows the header with the key
            raise AccessDenied(
                "the key cannot be sent: it holds characters that no HTTP header may hold",
                source=self.source,
                url=_shown(url),
            ) from None
        except (httpx.TransportError, httpx.DecodingError, httpcore.ReadTimeout) as error:
            if isinstance(error.__cause__, LeftoverError):
                return error.__cause__
            late = self.clock() >= self._asking.deadline
            said = f"not whole after {self.patience.timeout:g} s" if late else str(error)
            return Failure(reason=f"{type(error).__name__}: {said}", headers={})
        self._note_budget(headers)
        if status != 200:
            return Failure(reason=self._reason(status, body), status=status, headers=headers)
        if not _is_whole(body, headers):
            start = self._redacted(start_of(body))
            return Failure(reason=f"the body is not whole JSON, it starts {start!r}", headers={})
        log.debug("%s: 200 %s %d bytes", self.source, url.path, len(body))
        return Response(status=status, headers=headers, body=body, url=str(url))

    def _read(self, answer: httpx.Response) -> bytes:
        chunks, size = [], 0
        most = self.patience.max_body
        for chunk in unpacked(answer):
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                raise ProtocolError(
                    f"the body is larger than {most} bytes",
                    source=self.source,
                    url=_shown(answer.url),
                )
            self._within(None)
        return b"".join(chunks)

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

    def _reason(self, status: int, body: bytes) -> str:
        try:
            said = self.error_message(parse(body)) if body else ""
        except ProtocolError:
            said = ""
        # Statsig's 401 echoes the key that was sent
        return f"{status} {self._redacted(said)}".strip()[:500]

    def _redacted(self, text: str) -> str:
        return redact(text.replace(self.secret, "[key]") if self.secret else text)

    def _error(self, failure: Failure, url: httpx.URL, attempts: int) -> SourceError:
        status = failure.status
        tries = f" after {attempts} tries" if attempts > 1 else ""
        if status is None:
            broken = failure.reason.startswith("the body")
            kind: type[SourceError] = ProtocolError if broken else TransientError
        elif status in (401, 403):
            kind = AccessDenied
        elif status in (408, 425, 429) or status >= 500:
            kind = TransientError
        else:
            kind = RequestRejected if status >= 400 else ProtocolError
        return kind(failure.reason + tries, source=self.source, url=_shown(url), status=status)

    def _too_long(self, wait: float, url: httpx.URL) -> RateLimited:
        retry_at = datetime.fromtimestamp(min(self.clock() + wait, 4e9), UTC)
        return RateLimited(
            f"the rate limit asks to wait until {retry_at:%Y-%m-%d %H:%M:%S}Z, {wait:.0f} s, and a "
            f"run waits {self.patience.seconds:.0f} s at most; the next run goes on from here",
            retry_at=retry_at,
            source=self.source,
            url=_shown(url),
        )


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
    if "content-length" in headers or "transfer-encoding" in headers:
        return True
    try:
        parse(body)
    except ProtocolError:
        return False
    return True
