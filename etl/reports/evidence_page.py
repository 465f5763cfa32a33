"""An evidence report as one HTML file: no script, nothing loaded, every text escaped. Pure."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from etl.formatting import count, time
from etl.model import Operation
from etl.reports import charts
from etl.reports.charts import Bar
from etl.reports.evidence import OPERATIONS, Event, Evidence
from etl.reports.evidence_tables import completeness, cut, deletions, key, runs
from etl.reports.html import Html, tag
from etl.reports.paper import document, moment
from etl.transform.diff import MISSING, FieldChange

MAX_VALUE_LENGTH = 600  # letters of a value; what is cut says so
MAX_ACTORS = 12


def page(evidence: Evidence) -> str:
    """The whole document."""
    return document(
        evidence.title,
        _header(evidence),
        _charts(evidence),
        completeness(evidence),
        deletions(evidence),
        _edits(evidence),
        _creations(evidence),
        runs(evidence),
        _footer(evidence),
    )


def _header(evidence: Evidence) -> Html:
    asked = [f"{name} {value}" for name, value in evidence.asked.items() if value is not None]
    of = f" Only {', '.join(asked)}." if asked else ""
    cards = [
        tag("div", tag("dt", name), tag("dd", f"{evidence.total(name):,}"), class_=f"card {name}")
        for name in OPERATIONS
    ]
    ran = tag("div", tag("dt", "runs"), tag("dd", f"{evidence.all_runs:,}"), class_="card")
    return tag(
        "header",
        tag("p", "etl · evidence report", class_="brand"),
        tag("h1", evidence.title),
        tag("p", f"{_period(evidence)}{of} Times are UTC.", class_="lead"),
        [tag("p", note, class_="verdict open") for note in evidence.notes],
        tag("dl", cards, ran, class_="cards"),
    )


def _period(evidence: Evidence) -> str:
    if evidence.begin == evidence.end:
        return f"What took effect at {time(evidence.begin)}."
    return f"From {time(evidence.begin)} to {time(evidence.end)}."


def _charts(evidence: Evidence) -> Html:
    if not evidence.total():
        return tag("p", "Nothing changed.", class_="verdict")
    parts = [_legend(evidence)]
    landed = [(one.observed_at, one.operation, one.count) for one in evidence.counts]
    if len({at for at, _, _ in landed}) > 1:
        bars = charts.over_time(landed, evidence.begin, evidence.end)
        parts.append(tag("figure", charts.columns(bars, OPERATIONS, "Changes over time")))
    places = [
        Bar(f"{source} · {stream}", found)
        for (source, stream), found in evidence.by("source", "stream").items()
    ]
    hands = [
        Bar(actor or "not told by the vendor", found)
        for (actor,), found in evidence.by("actor").items()
    ]
    return tag(
        "section",
        tag("h2", "What changed"),
        parts,
        tag("h3", "Where"),
        _bars(places),
        tag("h3", "By whom"),
        _bars(hands[:MAX_ACTORS]),
        tag("p", f"and {count(len(hands) - MAX_ACTORS, 'other')}", class_="note")
        if len(hands) > MAX_ACTORS
        else None,
    )


def _legend(evidence: Evidence) -> Html:
    items = [tag("li", _swatch(name), name) for name in OPERATIONS if evidence.total(name)]
    return tag("ul", items, class_="legend")


def _swatch(kind: str) -> Html:
    square = tag("rect", width="11", height="11", rx="2", class_=f"fill {kind}")
    return tag("svg", square, width="11", height="11", aria_hidden="true")


def _bars(bars: Sequence[Bar]) -> Html:
    most = max((bar.total for bar in bars), default=1)
    rows = [
        tag(
            "div",
            tag("bdi", bar.label),
            charts.row(bar, OPERATIONS, most),
            tag("span", f"{bar.total:,}", class_="number"),
            class_="bar",
        )
        for bar in bars
    ]
    return tag("div", rows, class_="bars")


def _edits(evidence: Evidence) -> Html:
    if not evidence.edits:
        return Html()
    landed = groupby(evidence.edits, key=lambda one: (one.observed_at, one.source, one.run_id))
    told = [
        [
            tag("h3", moment(at), f" · {source} · run {run_id}"),
            tag("ul", [_event(one) for one in events], class_="changes"),
        ]
        for (at, source, run_id), events in landed
    ]
    return tag(
        "section",
        tag("h2", "Updates, field by field"),
        told,
        cut(len(evidence.edits), evidence.total(Operation.UPDATED, Operation.RESTORED), "updates"),
    )


def _creations(evidence: Evidence) -> Html:
    total = evidence.total(Operation.CREATED)
    if not total:
        return Html()
    landed = groupby(evidence.creations, key=lambda one: (one.observed_at, one.source, one.stream))
    told = [
        [
            tag("h3", moment(at), f" · {source} · {stream}"),
            tag("ul", [tag("li", key(one)) for one in events], class_="names"),
        ]
        for (at, source, stream), events in landed
    ]
    return tag(
        "section",
        tag("h2", "Created"),
        tag("p", "First seen then; the first run of a source sees all there is.", class_="note"),
        told,
        cut(len(evidence.creations), total, "creations"),
    )


def _event(one: Event) -> Html:
    vendor = time(one.provider_updated_at) if one.operation != Operation.DELETED else ""
    about = [
        one.actor and f"by {one.actor}",
        one.reason,
        vendor and f"vendor's time {vendor}",
    ]
    return tag(
        "li",
        tag("span", one.operation, class_="what"),
        " ",
        key(one),
        tag("span", " · ".join([one.stream, *(part for part in about if part)]), class_="sub"),
        tag("dl", [_field(field) for field in one.fields], class_="fields") if one.fields else None,
        class_=one.operation,
    )


def _field(field: FieldChange) -> list[Html]:
    values = [
        None if value is MISSING else tag(name, _value(value), class_="value", dir="ltr")
        for name, value in (("del", field.old), ("ins", field.new))
    ]
    old = values[0] or tag("span", "not there", class_="to")
    new = values[1] or tag("span", "not there", class_="to")
    return [
        tag("dt", tag("span", field.path or "the whole", class_="path")),
        tag("dd", old, tag("span", "→", class_="to"), new),
    ]


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= MAX_VALUE_LENGTH:
        return text
    return f"{text[:MAX_VALUE_LENGTH]} … ({len(text):,} letters)"


def _footer(evidence: Evidence) -> Html:
    return tag(
        "footer",
        tag(
            "p",
            f"Made at {time(evidence.made_at)} UTC by etl {evidence.version} from its database. "
            "Times are those of etl's observation, unless the vendor's are named. "
            "Between two runs a record may have changed more than once; "
            "old runs that changed nothing may have been pruned.",
        ),
        tag(
            "p",
            "The same as data: ",
            tag("code", "etl changes --format csv"),
            ", ",
            tag("code", "etl show RUN --partitions"),
            ", ",
            tag("code", "etl audit"),
            ".",
        ),
    )
