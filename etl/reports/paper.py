"""The frame of an HTML report that is one file: no script, nothing loaded, prints well. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files

from etl.formatting import time
from etl.reports.html import Child, Html, tag

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, *body: Child, broad: bool = False) -> str:
    """A whole document, light and dark; its own policy forbids what it does not need."""
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · etl"),
        tag("style", Html(files("etl.reports").joinpath("paper.css").read_text("utf-8"))),
    ]
    inner = tag("body", tag("main", body, class_="page broad" if broad else "page"))
    return f"<!doctype html>\n{tag('html', tag('head', head), inner, lang='en')}\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[Child]]) -> Html:
    """Columns whose name ends in # hold numbers; on a narrow page each cell tells its column."""
    titles = [name.rstrip("#") for name in columns]
    classes = ["number" if name.endswith("#") else None for name in columns]
    heads = zip(titles, classes, strict=True)
    body = [
        tag(
            "tr",
            [
                tag("td", cell, class_=kind, data_label=title if at else None)
                for at, (cell, title, kind) in enumerate(zip(row, titles, classes, strict=True))
            ],
        )
        for row in rows
    ]
    head = tag("tr", [tag("th", name, scope="col", class_=kind) for name, kind in heads])
    return tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_="wide")


def moment(at: datetime) -> Html:
    """A time, to the second for people and whole for programs."""
    return tag("time", time(at), datetime=at.isoformat())
