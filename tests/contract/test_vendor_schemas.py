"""Records made from the schemas of the vendors' pages, through the pipeline, into the database.

Every valid record is stored field by field, every record that breaks one rule is quarantined with
the place and the reason, and a second run writes nothing. The schemas are in `schemas/`, what they
mean in `tests/support/vendor_schemas.py`.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.conftest import Databases
from tests.contract.generator import Break, breaks, identified, lists_of, valid
from tests.support.content import differences, stored
from tests.support.database import contents, rows
from tests.support.internals.database import rejects
from tests.support.runs import SOURCES, hour, settings_of
from tests.support.vendor_schemas import (
    LISTS,
    Content,
    Drift,
    canonical,
    cleaned,
    faults,
    item_schema,
    raw_of,
    records_of,
    schema_of,
)
from tests.support.vendors import GONE, Estate, Vendors

Json = Any
STATSIG_PROJECT = {"id": "company_id", "name": "My Project", "source": "st"}


def few(examples: int, *, shrinks: bool = True) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
    )


@st.composite
def vendors(draw: st.DrawFn) -> Vendors:
    """Three vendors with valid records."""
    schemas = {name: item_schema(name) for name in LISTS.values()}
    projects = draw(lists_of(schemas["launchdarkly_projects"], most=3))
    held: dict[str, dict[str, Sequence[Json]]] = {
        name: {
            one["_id"]: draw(lists_of(schemas[f"launchdarkly_{name}"], most=3)) for one in projects
        }
        for name in ("environments", "layers")
    }
    return Vendors(
        projects=projects,
        environments=held["environments"],
        layers=held["layers"],
        statsig_layers=draw(lists_of(schemas["statsig_layers"], most=5)),
        layers_projects=draw(lists_of(schemas["layers_projects"], most=5)),
    )


def expected(held: Vendors) -> dict[str, tuple[Content, Drift]]:
    """Source -> its rows and the drift that they show."""
    lists = [("ld", "launchdarkly_projects", "", held.projects)]
    for name, under in (("environments", held.environments), ("layers", held.layers)):
        lists += [
            ("ld", f"launchdarkly_{name}", cleaned(parent), items)
            for parent, items in under.items()
        ]
    lists += [("st", "statsig_layers", "st", held.statsig_layers)]
    lists += [("ly", "layers_projects", "", held.layers_projects)]
    found: dict[str, tuple[Content, Drift]] = {source: ({}, set()) for source in SOURCES}
    for source, schema, parent_id, items in lists:
        for item in items:
            content, drift = records_of(schema, item, parent_id=parent_id)
            found[source][0].update(content)
            found[source][1].update(drift)
    found["st"][0].update(statsig_project())
    return found


def statsig_project() -> Content:
    """The project of the console key, made of the two routes that describe it."""
    columns = dict.fromkeys(next(iter(records_of("layers_projects", ANY_PROJECT)[0].values())))
    columns |= {"key": "company_id", "name": "My Project", "raw": STATSIG_PROJECT}
    return {("projects", "", "st", ""): columns}


ANY_PROJECT = {"id": "", "createdAt": None, "updatedAt": None}


def drift_in(engine: Engine, source: str) -> Drift:
    found = rows(engine, "schema_drift", f"source = '{source}'")
    return {(row["stream"], row["path"], row["type"]) for row in found}


@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        ("sqlite", 20),
        ("postgres", 3),
        pytest.param("sqlite", 600, marks=pytest.mark.slow),
        pytest.param("postgres", 60, marks=pytest.mark.slow),
    ],
)
def test_every_valid_record_is_stored_field_by_field(
    databases: Databases, kind: str, examples: int
) -> None:
    @few(examples)
    @given(vendors(), st.sampled_from([1, 2, 100]))
    def hold(held: Vendors, page_size: int) -> None:
        sizes = {"page_size": page_size}
        configured = settings_of(
            SOURCES,
            {"ld": {"projects": sizes}, "st": {"layers": sizes}, "ly": {"projects": sizes}},
        )
        with databases(kind) as engine:
            estate = Estate(engine, held, configured)
            for source, (content, drift) in expected(held).items():
                report = estate.sync(source, hour(0))
                assert (report.status, report.exit_code) == ("ok", 0), report
                agree(differences(content, stored(engine, source)))
                assert drift_in(engine, source) == drift
            assert rows(engine, "rejects") == []
            before = contents(engine)
            for source in SOURCES:
                assert estate.sync(source, hour(1)).changed == 0
            assert contents(engine) == before
        assert undocumented(held) == []

    hold()


def undocumented(held: Vendors) -> list[str]:
    """Requests for lists with a parameter that the vendor's page does not document."""
    return [
        f"{provider} {path}: {name}={value}"
        for provider, path, query in held.asked
        for name, value in query
        if not documented(provider, path, name, value)
    ]


def documented(provider: str, path: str, name: str, value: str) -> bool:
    """Whether a parameter is one of the page of that list, with a value that it allows."""
    for (vendor, _), schema in LISTS.items():
        request = schema_of(schema)["x-request"]
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(request["path"]))
        if vendor == provider and re.fullmatch(pattern, path):
            return name in request["parameters"] and allows(request["parameters"][name], value)
    # a single record: LaunchDarkly's page of one project documents `expand`
    return (provider, name, value) == ("launchdarkly", "expand", "environments")


def allows(schema: dict[str, Any], value: str) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    if schema["type"] != "integer":
        return True
    return value.isdecimal() and (
        schema.get("minimum", 0) <= int(value) <= schema.get("maximum", 2**63)
    )


OPTIONS: dict[str, dict[str, dict[str, Json]]] = {
    "ld": {
        "projects": {"filter": "query:a,tags:b+c", "sort": "-name", "page_size": 7},
        "layers": {"filter": "reservations.experimentKey contains a"},
    },
    "st": {"layers": {"tags": ["a", "b"], "creator_name": "c", "creator_id": "d", "page_size": 7}},
    "ly": {
        "projects": {
            "status": "archived",
            "search": "a",
            "customer_external_id": "b",
            "page_size": 200,
        }
    },
}


def test_every_option_is_sent_as_the_page_documents_it(
    databases: Databases, item: dict[str, Json]
) -> None:
    held = Vendors(
        projects=[item["launchdarkly_projects"]],
        statsig_layers=[item["statsig_layers"]],
        layers_projects=[item["layers_projects"]],
    )
    with databases("sqlite") as engine:
        for source in SOURCES:
            assert (
                Estate(engine, held, settings_of(SOURCES, OPTIONS)).sync(source, hour(0)).status
                == "ok"
            )
    assert undocumented(held) == []
    sent = {name for _, _, query in held.asked for name, _ in query}
    every = {name for schema in PARENTS for name in schema_of(schema)["x-request"]["parameters"]}
    assert every - sent == {"cursor"}  # only behind the first page


KEPT_OF_REASON = 200  # characters
PARENTS = {
    "launchdarkly_projects": "",
    "launchdarkly_environments": "owner",
    "launchdarkly_layers": "owner",
    "statsig_layers": "st",
    "layers_projects": "",
}
OWNER = {"_id": "owner", "key": "owner", "name": "O", "tags": [], "includeInSnippetByDefault": True}


def held_by(schema: str, items: list[Json]) -> Vendors:
    """Vendors with that one list."""
    match schema:
        case "launchdarkly_projects":
            return Vendors(projects=items)
        case "launchdarkly_environments":
            return Vendors(projects=[OWNER], environments={"owner": items})
        case "launchdarkly_layers":
            return Vendors(projects=[OWNER], layers={"owner": items})
        case "statsig_layers":
            return Vendors(statsig_layers=items)
    return Vendors(layers_projects=items)


def source_of(schema: str) -> str:
    provider = schema_of(schema)["x-provider"]
    return next(source for source, name in SOURCES.items() if name == provider)


def own(content: Content, schema: str, parent_id: str) -> Content:
    """The rows of that list, without the projects that it belongs to."""
    tables = {schema_of(schema)["x-item"], "layer_parameters", "layer_reservations"}
    return {
        place: row for place, row in content.items() if place[0] in tables and place[1] == parent_id
    }


def content_of(schema: str, items: list[Json], parent_id: str) -> Content:
    found: Content = {}
    for item in items:
        found |= records_of(schema, item, parent_id=parent_id)[0]
    return found


def drift_of(schema: str, items: list[Json]) -> Drift:
    return {one for item in items for one in records_of(schema, item)[1]}


def otherwise(engine: Engine, expected: dict[str, str]) -> list[str]:
    """Items in quarantine that should not be there, or for another reason; those that are not.

    expected: payload -> path and reason.
    """
    found = {
        _without_records(row): f"{row['path']}: {row['reason']}"
        for row in rows(engine, rejects, "resolved_at IS NULL")
    }
    return sorted(
        f"{expected.get(payload)} expected, {found.get(payload)}"
        for payload in expected.keys() | found.keys()
        if expected.get(payload) != found.get(payload)
    )


def _without_records(row: dict[str, Any]) -> str:
    """The payload of a reject; an item without a usable key is kept with what it carries."""
    carried = {"environments"} if row["stream"] == "projects" else set()
    return canonical({name: one for name, one in row["payload"].items() if name not in carried})


def told(schema: str, rules: list[Break], items: list[Json]) -> dict[str, str]:
    """The same of items that break these rules."""
    return {
        canonical(raw_of(schema, item)): f"{rule.path}: {_filled(rule.reason, item)}"
        for rule, item in zip(rules, items, strict=True)
        if rule.reason
    }


def _filled(reason: str, item: Json) -> str:
    """A reason that names what stands twice, as much of it as is kept."""
    if "{name}" not in reason:
        return reason
    whole = reason.format(name=cleaned(item["parameters"][0]["name"]))
    return whole if len(whole) <= KEPT_OF_REASON else f"{whole[:KEPT_OF_REASON]}…"


def without_rejects(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """They, and drift, say when they were last seen."""
    return {name: of for name, of in found.items() if name not in ("rejects", "schema_drift")}


class Broken:
    """Records of a list of which each breaks one rule: some never came otherwise, some did."""

    def __init__(self, schema: str, samples: list[Json]) -> None:
        shape = item_schema(schema)
        self.schema = schema
        self.rules = breaks(shape)
        self.again = [rule for rule in self.rules if not rule.renames]
        count = len(self.rules) + len(self.again)
        drawn = [deepcopy(samples[n % len(samples)]) for n in range(count)]
        good = identified(drawn, shape, "a")
        self.good, self.older = good[: len(self.rules)], good[len(self.rules) :]
        self.new = [rule.applied(one) for rule, one in zip(self.rules, self.good, strict=True)]
        self.now = [rule.applied(one) for rule, one in zip(self.again, self.older, strict=True)]

    def at_first(self) -> list[Json]:
        """What is stored when the older records are as they should be."""
        kept = [one for rule, one in zip(self.rules, self.new, strict=True) if not rule.reason]
        return kept + self.older

    def then(self) -> list[Json]:
        """What is stored when they are not any more: their last good version, or what etl takes."""
        kept = self.at_first()[: -len(self.older)]
        return kept + [
            old if rule.reason or rule.volatile or rule.secret else now
            for rule, old, now in zip(self.again, self.older, self.now, strict=True)
        ]

    def at_last(self) -> list[Json]:
        """What is stored when all are good again."""
        return self.older + [
            new if rule.volatile else good
            for rule, new, good in zip(self.rules, self.new, self.good, strict=True)
        ]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
@pytest.mark.parametrize("schema", LISTS.values())
def test_a_record_that_breaks_one_rule_is_quarantined_with_the_place_and_the_reason(
    databases: Databases, schema: str, kind: str
) -> None:
    source, parent_id = source_of(schema), PARENTS[schema]

    @few(2, shrinks=False)
    @given(st.lists(valid(item_schema(schema), full=True), min_size=3, max_size=3))
    def hold(samples: list[Json]) -> None:
        broken = Broken(schema, samples)
        at_first = told(schema, broken.rules, broken.new)

        def stores(items: list[Json]) -> None:
            found = own(stored(engine, source), schema, parent_id)
            agree(differences(content_of(schema, items, parent_id), found))

        with databases(kind) as engine:
            estate = Estate(
                engine, held_by(schema, broken.new + broken.older), settings_of(SOURCES)
            )
            estate.sync(source, hour(0))
            stores(broken.at_first())
            agree(otherwise(engine, at_first))
            assert drift_in(engine, source) == drift_of(schema, broken.at_first())

            estate.vendors = held_by(schema, broken.new + broken.now)
            estate.sync(source, hour(1))
            stores(broken.then())
            agree(otherwise(engine, at_first | told(schema, broken.again, broken.now)))
            before = contents(engine)
            assert estate.sync(source, hour(2)).changed == 0
            assert without_rejects(contents(engine)) == without_rejects(before)

            estate.vendors = held_by(schema, broken.good + broken.older)
            assert estate.sync(source, hour(3)).status == "ok"
            stores(broken.at_last())
            agree(otherwise(engine, {}))

    hold()


@pytest.mark.parametrize("schema", LISTS.values())
def test_a_rule_is_broken_alone(schema: str) -> None:
    shape = item_schema(schema)
    (item,) = [smallest(schema)]
    assert faults(shape, item) == []
    for rule in breaks(shape):
        broken = faults(shape, rule.applied(item))
        assert len(broken) == (0 if rule.own else 1), (rule.rule, broken)


def smallest(schema: str) -> Json:
    """A record with every field, each as simple as can be."""
    once = settings(max_examples=1, database=None, suppress_health_check=list(HealthCheck))
    full = valid(item_schema(schema), full=True)
    return find(full, lambda _: True, settings=settings(once, phases=[Phase.generate]))


def agree(problems: list[str]) -> None:
    """Fails with all of them, one a line."""
    assert not problems, "\n".join(problems)


ENVELOPES = [
    ("launchdarkly_projects", {"items": GONE}, "the answer has no list 'items' (found null)"),
    ("launchdarkly_projects", {"items": {}}, "the answer has no list 'items' (found object)"),
    ("launchdarkly_projects", {"_links": ["a"]}, "_links is a JSON array, not an object"),
    ("launchdarkly_projects", {"_links": {"next": {}}}, "the next link has no href (found null)"),
    ("launchdarkly_layers", {"items": None}, "the answer has no list 'items' (found null)"),
    ("statsig_layers", {"data": "x"}, "the answer has no list 'data' (found string)"),
    ("statsig_layers", {"data": GONE}, "the answer has no list 'data' (found null)"),
    ("statsig_layers", {"pagination": GONE}, "pagination is a JSON null, not an object"),
    ("layers_projects", {"items": 5}, "the answer has no list 'items' (found number)"),
    ("layers_projects", {"nextCursor": 5}, "nextCursor is a JSON number, not text"),
]
HARMLESS = [
    ("launchdarkly_projects", {"_links": GONE}),
    ("launchdarkly_projects", {"totalCount": GONE}),
    ("launchdarkly_projects", {"totalCount": "one"}),
    ("launchdarkly_layers", {"totalCount": GONE, "_links": GONE}),
    ("statsig_layers", {"message": GONE}),
    ("layers_projects", {"nextCursor": GONE}),
    ("layers_projects", {"nextCursor": ""}),
]


@pytest.fixture(scope="module")
def item() -> dict[str, Json]:
    """A record of each list."""
    return {schema: identified([smallest(schema)], item_schema(schema))[0] for schema in PARENTS}


@pytest.mark.parametrize(("schema", "spoiled", "reason"), ENVELOPES)
def test_a_body_that_breaks_a_rule_is_an_incomplete_list_that_says_why(
    databases: Databases, item: dict[str, Json], schema: str, spoiled: Json, reason: str
) -> None:
    source, stream = source_of(schema), schema_of(schema)["x-item"]
    held = held_by(schema, [deepcopy(item[schema])])
    held.envelope = spoiled
    with databases("sqlite") as engine:
        report = Estate(engine, held, settings_of(SOURCES)).sync(source, hour(0))
        told_of = next(one for one in report.streams if one.stream == stream)
        assert (report.exit_code != 0, told_of.complete) == (True, False), report
        assert reason in f"{report.error} {told_of.incomplete_reason}"


@pytest.mark.parametrize(("schema", "spoiled"), HARMLESS)
def test_a_body_without_what_etl_can_do_without_is_read(
    databases: Databases, item: dict[str, Json], schema: str, spoiled: Json
) -> None:
    source = source_of(schema)
    held = held_by(schema, [deepcopy(item[schema])])
    content = expected(held)[source][0]
    held.envelope = spoiled
    with databases("sqlite") as engine:
        assert Estate(engine, held, settings_of(SOURCES)).sync(source, hour(0)).status == "ok"
        agree(differences(content, stored(engine, source)))
