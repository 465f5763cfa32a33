"""Classifies failures of the network: those that pass by themselves, and those that need a person.

Refused connections, resets, time-outs and temporary failures of the name service pass. An unknown
host, a bad certificate and a refusal by a proxy do not: a retry cannot help.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx

# Codes of X509_verify_cert_error_string(3)
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21, 24, 26, 27})
_WRONG_HOST = frozenset({62, 64})

# OpenSSL's reasons of a handshake that fails in the same way every time
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL")
_NO_COMMON_TLS = (
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "NO_SHARED_CIPHER",
    "NO_CIPHERS_AVAILABLE",
    "DH_KEY_TOO_SMALL",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_UNRECOGNIZED_NAME",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
)
_TEMPORARY_NAME_ERRORS = (socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM)
_RETRYABLE_PROXY_STATUSES = (408, 425, 429)
_BROKEN_OFF = re.compile("disconnected|closed connection")  # h11's words; the peer may come back
_STATUS = re.compile(r"(\d{3})\b")
_UNREACHABLE = (
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EACCES,
    errno.EPERM,
)

_CERT_FILE = (
    "If a proxy or firewall of yours inspects TLS, set SSL_CERT_FILE to a PEM file with its "
    "certificate authority"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFault:
    """Why a request brought no answer, what to do about it, and whether a retry can help.

    broken: something answered, and not as HTTP asks for.
    """

    reason: str
    remedy: str = ""
    lasting: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a source is reached.

    host: of the source. proxy: host and port of its proxy, or nothing. ignored: the environment
    variables that name a proxy, which etl does not use by itself.
    """

    host: str
    proxy: str = ""
    ignored: Sequence[str] = ()

    @property
    def first_hop(self) -> str:
        """What a connection is opened to."""
        return f"the proxy {self.proxy}" if self.proxy else f"the host {self.host}"

    @property
    def setting(self) -> str:
        """The setting that says where the first hop is."""
        return "proxy" if self.proxy else "base_url"


def classify(error: BaseException, route: Route, *, has_answered: bool) -> NetworkFault:
    """What a failed request came to.

    has_answered: the source answered earlier in this process, so its host is known to exist and
    an unknown name is a failure of the name service.
    """
    for cause in _causes(error):
        fault = _known_fault(cause, route, has_answered=has_answered)
        if fault is not None:
            return fault
    if isinstance(error, httpx.RemoteProtocolError) and not _BROKEN_OFF.search(str(error)):
        return _no_http_fault(str(error), route)
    connecting = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return NetworkFault(reason=str(error), remedy=_proxy_hint(route) if connecting else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()  # an error that is raised anew may be a cause of its own
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _known_fault(cause: BaseException, route: Route, *, has_answered: bool) -> NetworkFault | None:
    match cause:
        case ssl.SSLError():
            return _tls_fault(cause, route)
        case httpx.ProxyError():
            return _proxy_fault(str(cause), route)
        case socket.gaierror() if cause.errno in _TEMPORARY_NAME_ERRORS:
            reason = f"{route.first_hop} cannot be looked up now: {cause.strerror}"
            return NetworkFault(reason=reason, remedy=_proxy_hint(route))
        case socket.gaierror() | UnicodeError():
            return _unknown_host(cause, route, has_answered=has_answered)
        case OSError() if cause.errno in _UNREACHABLE:
            reason = f"{route.first_hop} cannot be reached: {cause.strerror}"
            return NetworkFault(reason=reason, remedy=_proxy_hint(route))
    return None


def _unknown_host(
    cause: socket.gaierror | UnicodeError, route: Route, *, has_answered: bool
) -> NetworkFault:
    why = cause.strerror if isinstance(cause, socket.gaierror) else "not a host name"
    return NetworkFault(
        reason=f"{route.first_hop} is unknown: {why}",
        remedy=_proxy_hint(route) or f"Check {route.setting} and the name server",
        lasting=not has_answered,
    )


def _tls_fault(error: ssl.SSLError, route: Route) -> NetworkFault | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_fault(error, route)
    return _handshake_fault(error, route)


def _certificate_fault(error: ssl.SSLCertVerificationError, route: Route) -> NetworkFault:
    code = error.verify_code
    if code in _WRONG_HOST:
        remedy = f"Check {route.setting}: the certificate belongs to another host"
    elif code == _NOT_YET_VALID:
        remedy = "Check the clock of this machine"
    elif code == _EXPIRED:
        remedy = "Check the clock of this machine; the certificate must be renewed by its owner"
    elif code in _UNKNOWN_ISSUER:
        remedy = f"Check {route.setting}. {_CERT_FILE}"
    else:
        remedy = _CERT_FILE
    reason = f"the certificate of {route.host} is not trusted: {error.verify_message}"
    return NetworkFault(reason=reason, remedy=remedy, lasting=True)


def _handshake_fault(error: ssl.SSLError, route: Route) -> NetworkFault | None:
    said = (error.reason or "").upper().replace(" ", "_")
    if said in _NO_TLS:
        reason = f"{route.host} does not speak TLS at this port ({said})"
    elif said in _NO_COMMON_TLS:
        reason = f"{route.host} and etl have no version of TLS in common ({said})"
    else:
        return None
    return NetworkFault(
        reason=reason, remedy=f"Check scheme, host and port of {route.setting}", lasting=True
    )


def _no_http_fault(said: str, route: Route) -> NetworkFault:
    """An answer that no reader of HTTP understands: most often a wrong port, or a broken proxy."""
    what = re.sub(r"bytearray\(b(['\"].*?['\"])\)", r"\1", said)
    return NetworkFault(
        reason=f"{route.first_hop} does not answer as HTTP/1.1 asks for: {what}",
        remedy=f"Check scheme, host and port of {route.setting}",
        broken=True,
    )


def _proxy_fault(said: str, route: Route) -> NetworkFault:
    found = _STATUS.match(said)
    status = int(found[1]) if found else 0
    lasting = 300 <= status < 500 and status not in _RETRYABLE_PROXY_STATUSES
    if status == 407:
        remedy = "Put user and password into the URL that the setting proxy refers to"
    else:
        remedy = f"Check the setting proxy, and that the proxy allows {route.host}"
    reason = f"the proxy {route.proxy} refused the connection to {route.host}: {said.strip()}"
    return NetworkFault(reason=reason, remedy=remedy, lasting=lasting)


def _proxy_hint(route: Route) -> str:
    """What to set where the environment names a proxy that etl does not use."""
    if route.proxy or not route.ignored:
        return ""
    names = ", ".join(route.ignored)
    return (
        f"{names} {'is' if len(route.ignored) == 1 else 'are'} set but not used: write "
        f'proxy = {{ env = "{route.ignored[0]}" }} in the table of the source'
    )
