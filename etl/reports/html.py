"""HTML from values: texts are escaped where they are put in, so none is forgotten. Pure."""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from etl.formatting import safe

Child: TypeAlias = "str | int | Iterable[Child] | None"

_VOID = frozenset({"meta", "link", "br", "hr", "rect", "line"})


class Html(str):
    """Text that is HTML already; only `tag`, `join` and our own files make it."""

    __slots__ = ()


def tag(name: str, /, *children: Child, **attributes: object) -> Html:
    """An element: texts and values escaped, controls shown; `class_` is class, `_` is a hyphen.

    An attribute that is None or False is left out, one that is True has no value.
    """
    told = "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{escape(safe(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(
            f"<{name}{told}>" if name in ("meta", "link", "br", "hr") else f"<{name}{told}/>"
        )
    return Html(f"<{name}{told}>{join(children)}</{name}>")


def join(children: Child) -> Html:
    """All of them, one after the other; whatever is not HTML is escaped."""
    if children is None:
        return Html()
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int):
        return Html(escape(safe(children)))
    return Html("".join(join(child) for child in children))


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
