"""Texts without secrets: what a process knows to be secret is masked in whatever it tells. Pure.

Messages of drivers and libraries repeat parts of what they were given: the end of a password that
was taken for a host, a query string, a header. So a secret is registered once, where it is read,
and every run of its characters is masked in errors, logs and tracebacks.
"""

import re
from urllib.parse import quote, unquote, unquote_plus

MASK = "***"
MIN_MASKED_LENGTH = 4  # characters of a password that are masked wherever they stand together
MIN_MASKED_KEY_LENGTH = 12  # API keys begin with words such as console-

ENCODING_HINT = (
    "in a user name or password @ : / ? # & % must be percent-encoded "
    "(@ is %40, : is %3A, / is %2F, % is %25), or leave the password to ~/.pgpass"
)

_SECRET_OPTION = re.compile(r"(?i)(?<![a-z])(?:ssl)?pass(?:word|wd|phrase)?=")
_SAFE_URL = re.compile(
    r"(?P<scheme>[a-z0-9+]+://)"
    r"(?:(?P<user>[^:@/?#]*)(?P<password>:.*)?@)?"
    r"(?P<place>(?:[\w.,%-]|\[[0-9A-Fa-f:.%]+\]|:\d+(?![^/?,]))*(?:/[^/?#@:]*)?)"
    r"(?P<query>\?[^@#]*)?"
)

_runs: set[str] = set()  # of characters that are masked, in lower case


def protect(secret: str, *, shortest: int = MIN_MASKED_LENGTH) -> None:
    """From now on no `shortest` characters of the secret that follow each other are told."""
    folded = _folded(secret)
    for start in range(len(folded) - shortest + 1):
        _runs.add(folded[start : start + shortest])


def forget() -> None:
    """Nothing is secret any more."""
    _runs.clear()


def protect_key(key: str) -> None:
    """The same for an API key, which may share a few characters with other words."""
    protect(key, shortest=max(MIN_MASKED_LENGTH, min(MIN_MASKED_KEY_LENGTH, len(key))))


def protect_url(url: str) -> None:
    """Protects whatever may be a password in a URL, however it is written."""
    _, found, rest = url.partition("://")
    for secret in _secrets_of(rest if found else url.partition(":")[2].lstrip("/")):
        for form in {secret, unquote(secret), unquote_plus(secret), quote(unquote(secret))}:
            protect(form)


def _secrets_of(rest: str) -> list[str]:
    """What may be a password, taken rather too long than too short."""
    before, at, place = rest.rpartition("@")
    found = [rest[one.end() :] for one in _SECRET_OPTION.finditer(rest)]
    if at and ":" in before:
        found.append(before.partition(":")[2])
    elif not at and (word := re.match(r"[^:/?]*:([^:/?,]*[^:/?,\d][^:/?,]*)", place)):
        found.append(word[1])  # no port: `user:password` without the host
    return found


def redact(text: str) -> str:
    """The text with every part of a protected secret masked."""
    for _ in range(3):  # what is beside a mask may be a run with it
        shown = _masked_once(text)
        if shown == text:
            break
        text = shown
    return text


def _masked_once(text: str) -> str:
    folded = _folded(text)
    hidden = bytearray(len(text))
    for length in set(map(len, _runs)):
        for start in range(len(text) - length + 1):
            if folded[start : start + length] in _runs:
                hidden[start : start + length] = b"\1" * length
    parts, start = [], 0
    for found in re.finditer(b"\1+", bytes(hidden)):
        parts += [text[start : found.start()], MASK]
        start = found.end()
    return "".join([*parts, text[start:]])


def _folded(text: str) -> str:
    """Lower case, letter by letter: libraries fold the names of hosts."""
    return "".join(low if len(low := one.lower()) == 1 else one for one in text)


def masked(url: str) -> str:
    """A URL without its password; only the scheme where it is not clear what the password is."""
    if url.startswith("sqlite"):
        return url
    parts = _SAFE_URL.fullmatch(url)
    query = (parts and parts["query"]) or ""
    if parts is None or (_SECRET_OPTION.search(url) and not _SECRET_OPTION.search(query)):
        return f"{url.partition('://')[0]}://{MASK}" if "://" in url else MASK
    user = "" if parts["user"] is None else parts["user"]
    password = "" if parts["password"] is None else f":{MASK}"
    at = "" if parts["user"] is None else "@"
    shown = f"?{MASK}" if _SECRET_OPTION.search(query) else query
    return f"{parts['scheme']}{user}{password}{at}{parts['place']}{shown}"


def has_password(url: str) -> bool:
    """Whether a password stands in the URL."""
    return any(secret.strip(":") for secret in _secrets_of(url.partition("://")[2]))


def is_clear(url: str) -> bool:
    """Whether a database URL can be read in one way only: where its password begins and ends."""
    rest = url.partition("://")[2]
    before, _, _ = rest.rpartition("@")
    query = rest.partition("?")[2]
    return (
        _SAFE_URL.fullmatch(url) is not None
        and "@" not in before
        and not re.search(r"[#]|%(?![0-9A-Fa-f]{2})", rest)
        and all("=" in pair for pair in query.split("&") if query)
    )
