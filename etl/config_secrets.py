"""Secrets from the environment and from files that only their owner may read; never shown."""

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from etl.config_errors import Key, Problem
from etl.config_file import SecretTable
from etl.redaction import protect_key

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secrets_at(
    places: Mapping[Key, SecretTable | str], folder: Path, environ: Mapping[str, str]
) -> tuple[dict[Key, SecretStr], list[Problem]]:
    """The secrets, and what kept one from being found; never a value, nor its length."""
    found: dict[Key, SecretStr] = {}
    problems: list[Problem] = []
    for key, place in places.items():
        try:
            found[key] = secret_at(place, folder, environ)
        except ValueError as error:
            problems.append(Problem(key, str(error)))
    return found, problems


def secret_at(place: SecretTable | str, folder: Path, environ: Mapping[str, str]) -> SecretStr:
    """The secret at a place; ValueError, without its value, when there is none."""
    if isinstance(place, str):
        raise ValueError(place)  # noqa: TRY004 - not a wrong type: nothing is written there
    if place.env is not None:
        where = _shown_variable(place.env)
        if place.env not in environ:
            raise ValueError(f"{where} is not set; export it, or name another")
        value = environ[place.env].strip()
    else:
        file = _secret_path(folder, str(place.file))
        where, value = f"the file {file}", _secret_file(file)
    if not value:
        raise ValueError(f"{where} is empty")
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(f"{where} holds a blank, a line break or a letter that no key has")
    protect_key(value)
    return SecretStr(value)


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


def _secret_file(file: Path) -> str:
    """The text of a file that nobody else may read, as far as this process can see to it."""
    try:
        found = file.stat()
        exposed = found.st_mode & _OTHERS and _is_ours(file, found)
        regular = stat.S_ISREG(found.st_mode)
        text = "" if exposed or not regular else file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"the file {file} is not text") from None
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
