"""Secrets from the environment and from files that only their owner may read; never shown."""

import codecs
import os
import re
import shlex
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from etl.config.file import SecretTable
from etl.config.messages import Key, Problem
from etl.files import content
from etl.redaction import protect_key, protect_url

_QUOTES = frozenset(
    "\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
)
_ASSIGNMENT = re.compile(r"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=\s*[^\s=]")  # not base64's ==
_BYTE_ORDER_MARK = "\ufeff"
MAX_SECRET_BYTES = 2**16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secrets_at(
    places: Mapping[Key, SecretTable | str], folder: Path, environ: Mapping[str, str]
) -> tuple[dict[Key, SecretStr], list[Problem]]:
    """The secrets, and what kept one from being found; never a value, nor its length."""
    found: dict[Key, SecretStr] = {}
    problems: list[Problem] = []
    for key, place in places.items():
        try:
            # of the URL of a proxy only the password is secret, and its host is told
            protect = protect_url if key[-1] == "proxy" else protect_key
            found[key] = secret_at(place, folder, environ, protect=protect)
        except ValueError as error:
            problems.append(Problem(key, str(error)))
    return found, problems


def secret_at(
    place: SecretTable | str,
    folder: Path,
    environ: Mapping[str, str],
    *,
    protect: Callable[[str], None] = protect_key,
) -> SecretStr:
    """The secret at a place; ValueError, without its value, when there is none."""
    if isinstance(place, str):
        raise ValueError(place)  # noqa: TRY004 - not a wrong type: nothing is written there
    if place.env is not None:
        where = _shown_variable(place.env)
        if place.env not in environ:
            raise ValueError(f"{where} is not set; export it, or name another")
        value = environ[place.env].strip().removeprefix(_BYTE_ORDER_MARK).strip()
    else:
        file = _secret_path(folder, str(place.file))
        where, value = f"the file {file}", _secret_file(file)
    if fault := _fault_of(value):
        raise ValueError(f"{where} {fault}")
    protect(value)
    return SecretStr(value)


def _fault_of(value: str) -> str:
    """Why a text is no secret that a header could hold; never a part of it."""
    if not value:
        return "is empty"
    if value[0] in _QUOTES or value[-1] in _QUOTES:
        return "begins or ends with a quotation mark: write the secret without quotes around it"
    if _ASSIGNMENT.match(value):
        return "holds NAME=value: write the value alone"
    if not (value.isascii() and value.isprintable() and " " not in value):
        return "holds a blank, a line break or a letter that no key has"
    return ""


def _shown_variable(name: str) -> str:
    """The variable by name, unless the name may well be a key that was put in the wrong place."""
    return f"the environment variable {name}" if name.isupper() else "that environment variable"


def _secret_path(folder: Path, text: str) -> Path:
    """Where the file is: relative to this folder, or at home after `~`."""
    if not text.isprintable():
        raise ValueError("the name of the file holds a character that no name has")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"the file {text}: there is no such home") from None


def _text(data: bytes) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so, as PowerShell writes it; no mark."""
    utf16 = len(data) > 2 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf16 else "utf-8-sig")


def _secret_file(file: Path) -> str:
    """The text of a file that nobody else may read, as far as this process can see to it."""
    try:
        found = file.stat()
        exposed = found.st_mode & _OTHERS and _is_ours(file, found)
        regular = stat.S_ISREG(found.st_mode)
        text = "" if exposed or not regular else _text(content(file, most=MAX_SECRET_BYTES))
    except UnicodeDecodeError:
        raise ValueError(f"the file {file} is not text") from None
    except ValueError:
        raise ValueError(
            f"the file {file} is larger than a secret may be ({MAX_SECRET_BYTES:,} bytes)"
        ) from None
    except OSError as error:
        raise ValueError(f"cannot read the file {file}: {error.strerror}") from None
    if not regular:
        raise ValueError(f"{file} is not a file")
    if exposed:
        remedy = f"run: chmod 600 {shlex.quote(str(file))}"
        mode = found.st_mode & 0o777
        raise ValueError(f"others may read the file {file} (mode {mode:04o}); {remedy}")
    return text.strip()


def _is_ours(file: Path, found: os.stat_result) -> bool:
    """Whether this process can change the file's mode.

    Not so of the secrets that Kubernetes (root, group of the pod, 0440) and Docker (root, 0444)
    mount: they belong to root, and for a process of root they are mounted read-only.
    """
    read_only = os.statvfs(file).f_flag & os.ST_RDONLY
    return found.st_uid == os.geteuid() and not read_only
