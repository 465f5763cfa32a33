"""Templates and what they may say: every value is escaped, control characters are shown.

What a vendor wrote is text and nothing else: HTML is escaped by Jinja, letters that command a
terminal or turn the direction of writing are shown as their numbers by `finalize`.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from etl import __version__
from etl.formatting import count, safe, span, time
from etl.transform.diff import MISSING
from etl.web.query import PageQuery, written

MAX_VALUE_LENGTH = 300


def environment() -> Environment:
    """The templates of the console."""
    made = Environment(
        loader=PackageLoader("etl.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "time": time,
        "iso": datetime.isoformat,
        "written": written,
        "span": span,
        "count": count,
        "number": lambda value: f"{value:,}",
        "json": lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True),
        "lines": _lines,
        "value": _value,
        "short": _short,
        "place": lambda place: json.dumps([place.source, place.key, place.id]),
    }
    made.globals |= {"version": __version__, "MISSING": MISSING}
    return made


def page(templates: Environment, name: str, asked: PageQuery, values: Mapping[str, Any]) -> str:
    """The page of that template."""
    common = {
        "asked": asked,
        "link": asked.link,
        "here": asked.here,
        "ago": lambda moment: _ago(asked, moment),
        "notices": (),
    }
    return templates.get_template(name).render({**common, **values})


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup) else safe("" if value is None else value)


def _ago(asked: PageQuery, moment: datetime) -> str:
    """The age of a moment, seen from the one that is looked at."""
    age = span((asked.then - moment).total_seconds())
    return f"{age} ago" if asked.moment is None else f"{age} before"


def _value(value: Any) -> str:
    """A field's value on one line: JSON, but a text as it is."""
    if value is MISSING:
        return "—"
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return time(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _short(text: str) -> str:
    """The beginning of a text that is too long for a table."""
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"


def _lines(value: Any) -> list[str]:
    """A payload as indented JSON, line by line."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).splitlines()
