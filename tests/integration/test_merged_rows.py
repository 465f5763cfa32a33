"""What a merge writes, column by column: versions, tombstones, the rows of layers, the feed."""

from typing import Any

from sqlalchemy import Engine

from tests.support.database import count, rows
from tests.support.internals.database import RECORDS, changes, rejects
from tests.support.internals.values import WHOLE
from tests.support.runs import hour, of
from tests.support.scripted import (
    PROJECTS,
    Vendor,
    cursor_list,
    ld,
    ld_account,
    ld_environment,
    ld_layer,
    ld_project,
    numbered_list,
    offset_list,
    partner,
    partners,
    statsig,
    statsig_layer,
)

PARAMETERS = next(
    child.current for child in RECORDS["layers"].children if "parameter" in child.current.name
)
LAYERS = RECORDS["layers"]
CREATED = 1_700_000_000_000


def parameter(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "type": "string", "defaultValue": value}


def layer(name: str, **parameters: Any) -> dict[str, Any]:
    listed = [parameter(one, value) for one, value in parameters.items()]
    return statsig_layer(name, parameters=listed, createdTime=CREATED)


def given(vendor: Vendor, number: int, *layers: Any) -> int:
    """A run in which Statsig has these layers; its number."""
    vendor.answers |= numbered_list(layers, size=50)
    report = vendor.run(at=hour(number))
    assert report.status == "ok"
    return report.run_id or 0


def parameters(engine: Engine, layer_key: str = "") -> dict[str, tuple[Any, ...]]:
    """Name -> value, version, operation, run, when it was changed, whether it is deleted."""
    keys = {row["layer_id"]: row["key"] for row in rows(engine, LAYERS.current)}
    return {
        row["key"]: (
            row["default_value"],
            row["version"],
            row["operation"],
            row["run_id"],
            row["changed_at"],
            row["is_deleted"],
        )
        for row in rows(engine, PARAMETERS)
        if layer_key in ("", keys[row["layer_id"]])
    }


def test_the_life_of_the_parameters_of_a_layer(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=50)
    other = layer("other", x=0)
    one = given(vendor, 0, layer("L", x=1, y=2), other)
    assert parameters(engine, "L") == {
        "x": (1, 1, "created", one, hour(0), False),
        "y": (2, 1, "created", one, hour(0), False),
    }
    two = given(vendor, 1, layer("L", x=5, z=3), other)
    found = parameters(engine, "L")
    assert found == {
        "x": (5, 2, "updated", two, hour(1), False),
        "y": (2, 2, "deleted", two, hour(1), True),
        "z": (3, 1, "created", two, hour(1), False),
    }
    three = given(vendor, 2, layer("L", x=5, z=4), other)  # y is not buried a second time
    found = parameters(engine, "L")
    assert (found["x"], found["y"]) == (
        (5, 2, "updated", two, hour(1), False),
        (2, 2, "deleted", two, hour(1), True),
    )
    assert found["z"] == (4, 2, "updated", three, hour(2), False)
    four = given(vendor, 3, layer("L", x=5, z=4, y=2), other)
    assert parameters(engine, "L")["y"] == (2, 3, "restored", four, hour(3), False)
    given(vendor, 4, layer("L", x=5, z=4), other)
    six = given(vendor, 5, other)  # the layer goes: those that are there are buried with it
    found = parameters(engine, "L")
    assert found["x"] == (5, 3, "deleted", six, hour(5), True)
    assert found["y"][1:] == (4, "deleted", six - 1, hour(4), True)
    assert {row["deleted_at"] for row in rows(engine, PARAMETERS, "is_deleted")} == {
        hour(4),
        hour(5),
    }
    seven = given(vendor, 6, layer("L", x=5), other)
    found = parameters(engine, "L")
    assert found["x"] == (5, 4, "restored", seven, hour(6), False)
    assert found["z"][1:3] == (3, "deleted")
    assert parameters(engine, "other") == {"x": (0, 1, "created", one, hour(0), False)}
    assert count(engine, "layer_parameters", "NOT is_deleted AND deleted_at IS NOT NULL") == 0


def test_what_the_row_of_a_parameter_says_of_its_layer(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=50)
    given(vendor, 0, layer("L", x=1))
    given(vendor, 1, layer("L", x=1, y=None))
    found = {row["key"]: row for row in rows(engine, PARAMETERS)}
    (of,) = rows(engine, LAYERS.current)
    for row in found.values():
        assert (row["layer_id"], row["source"], row["provider"]) == (of["layer_id"], "x", "statsig")
        assert row["provider_created_at"] == of["provider_created_at"] is not None
        assert row["provider_updated_at"] == of["provider_updated_at"] is not None
        assert (row["external_id"], row["name"]) == (row["key"], row["key"])
    assert [found[key]["position"] for key in "xy"] == [0, 1]
    assert [found[key]["first_seen_at"] for key in "xy"] == [hour(0), hour(1)]
    assert [found[key]["default_value"] for key in "xy"] == [1, None]
    with_null = "CAST(default_value AS text) = 'null'"
    assert count(engine, "layer_parameters", with_null) == 1


def test_a_parameter_that_changes_its_place_is_changed(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=50)
    given(vendor, 0, layer("L", x=1, y=2, z=3))
    given(vendor, 1, layer("L", y=2, x=1, z=3))
    found = {row["key"]: (row["position"], row["version"]) for row in rows(engine, PARAMETERS)}
    assert found == {"x": (1, 2), "y": (0, 2), "z": (2, 1)}


def test_every_version_of_a_layer_is_kept_with_the_time_it_held(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=50)
    runs = [
        given(vendor, 0, statsig_layer("L", description="one"), layer("other")),
        given(vendor, 1, statsig_layer("L", description="two"), layer("other")),
        given(vendor, 2, layer("other")),
        given(vendor, 3, statsig_layer("L", description="four"), layer("other")),
    ]
    closed = sorted(rows(engine, LAYERS.history), key=lambda row: row["version"])
    names = ("version", "operation", "run_id", "valid_from", "valid_to", "is_deleted")
    assert [tuple(row[name] for name in (*names, "description")) for row in closed] == [
        (1, "created", runs[0], hour(0), hour(1), False, "one"),
        (2, "updated", runs[1], hour(1), hour(2), False, "two"),
        (3, "deleted", runs[2], hour(2), hour(3), True, "two"),
    ]
    (row,) = rows(engine, LAYERS.current, "key = 'L'")
    said = ("version", "operation", "run_id", "changed_at", "is_deleted", "deleted_at")
    assert [row[name] for name in said] == [4, "restored", runs[3], hour(3), False, None]
    assert (row["first_seen_at"], row["description"]) == (hour(0), "four")
    (other,) = rows(engine, LAYERS.current, "key = 'other'")
    assert [other[name] for name in said] == [1, "created", runs[0], hour(0), False, None]


def test_the_feed_tells_who_changed_a_record_and_of_a_deletion_nobody(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=50)
    by = {"lastModifierEmail": "ann@example.com", "creatorEmail": "cy@example.com"}
    given(vendor, 0, statsig_layer("L", **by), layer("other"))
    given(vendor, 1, statsig_layer("L", description="new", **by), layer("other"))
    given(vendor, 2, layer("other"))
    found = [row for row in rows(engine, changes) if row["key"] == "L"]
    told_of = [(row["operation"], row["actor"], row["reason"], row["version"]) for row in found]
    assert told_of == [
        ("created", "ann@example.com", None, 1),
        ("updated", "ann@example.com", None, 2),
        ("deleted", None, "the provider answers 404 for it", 3),
    ]
    assert [row["observed_at"] for row in found] == [hour(0), hour(1), hour(2)]


def test_within_a_run_events_stand_by_stream_and_row_and_rows_as_they_came(engine: Engine) -> None:
    names = ["p2", "p1", "p3"]
    account = {name: [ld_layer(f"{name}-{one}") for one in ("z", "a")] for name in names}
    vendor = ld(engine, ld_account(account))
    vendor.run(at=hour(0))
    found = sorted(rows(engine, changes), key=lambda row: row["change_id"])
    assert [row["key"] for row in found] == [
        *names,
        *(f"{name}-{one}" for name in names for one in ("z", "a")),
    ]
    assert [row["record_id"] for row in found[3:]] == sorted(row["record_id"] for row in found[3:])
    assert [row["change_id"] for row in found] == list(range(1, 10))


def reserved(key: str, *names: str) -> dict[str, Any]:
    one = [{"experimentKey": n, "flagKey": "f", "reservationPercent": 10} for n in names]
    return ld_layer(key, environments={"production": {"reservations": one}})


def test_layers_and_environments_have_the_key_of_their_project(engine: Engine) -> None:
    """A rename is a change of the project, and none of what hangs on it."""
    vendor = Vendor(engine=engine, provider="launchdarkly", options={"projects": {"page_size": 20}})

    def show(number: int, **keys: str) -> None:
        projects = [ld_project(now, _id=f"id-{name}") for name, now in keys.items()]
        for one in projects:
            inner = {"items": [ld_environment(f"e-{one['_id']}")], "totalCount": 1}
            vendor.answers[f"{PROJECTS}/{one['key']}/layers"] = {"items": [reserved("l", "exp")]}
            vendor.answers[f"{PROJECTS}/{one['key']}"] = one
            one["environments"] = inner
        listed = offset_list(PROJECTS, projects, size=20)
        vendor.answers |= {f"{target}&expand=environments": one for target, one in listed.items()}
        plain = [{k: v for k, v in one.items() if k != "environments"} for one in projects]
        vendor.answers |= offset_list(PROJECTS, plain, size=20)
        vendor.answers["/api/v2/caller-identity"] = {"accountId": "one"}
        assert vendor.run(at=hour(number)).status == "ok"

    show(0, p="p", q="q")
    before = {row["project_id"]: row["key"] for row in rows(engine, "projects")}
    show(1, p="new", q="q")
    assert {row["key"] for row in rows(engine, "projects")} == {"new", "q"}
    for stream in ("environments", "layers"):
        found = rows(engine, stream)
        assert {(before[row["project_id"]], row["project_key"]) for row in found} == {
            ("p", "new"),
            ("q", "q"),
        }
        assert {
            (row["version"], row["operation"], row["changed_at"])
            for row in rows(engine, RECORDS[stream].current)
        } == {(1, "created", hour(0))}
    assert count(engine, "changes", "stream <> 'projects' AND operation <> 'created'") == 0
    assert {row["parent_id"] for row in rows(engine, "layers")} == {"id-p", "id-q"}


def test_reservations_that_move_between_runs(engine: Engine) -> None:
    vendor = ld(engine, ld_account({"p": [reserved("l", "one", "two"), reserved("m", "one")]}))
    vendor.run(at=hour(0))
    vendor.answers |= ld_account({"p": [reserved("l", "two", "three"), reserved("m", "one")]})
    vendor.run(at=hour(1))
    found = {
        (row["experiment_key"], row["version"], row["operation"])
        for row in rows(engine, "layer_reservations")
    }
    assert found == {
        ("one", 1, "created"),
        ("one", 2, "deleted"),
        ("two", 1, "created"),
        ("three", 1, "created"),
    }


def bad(name: str) -> dict[str, Any]:
    return {**partner(name), "status": None}


def test_rejects_are_resolved_by_a_complete_list_only(engine: Engine) -> None:
    vendor = partners(engine, cursor_list([bad("a"), bad("b"), partner("c")], size=50), size=50)
    other = partners(engine, cursor_list([bad("a")], size=50), size=50)
    other.name = "other"
    other.run(at=hour(0))
    vendor.run(at=hour(0))

    def standing() -> dict[str, Any]:
        found = rows(engine, rejects, "source = 'x'")
        return {row["item"]: (row["resolved_at"], row["last_seen_at"]) for row in found}

    assert standing() == {"a": (None, hour(0)), "b": (None, hour(0))}
    nameless = {k: v for k, v in partner("z").items() if k != "id"}
    vendor.answers |= cursor_list([bad("a"), partner("b"), partner("c"), nameless], size=50)
    assert vendor.run(at=hour(1)).status == "partial"
    found = standing()
    assert (found["a"], found["b"]) == ((None, hour(1)), (None, hour(0)))  # it was not whole
    vendor.answers |= cursor_list([bad("a"), partner("b"), partner("c")], size=50)
    report = vendor.run(at=hour(2))
    assert (report.status, of(report, "projects").complete) == ("partial", True)
    found = standing()
    assert (found["a"], found["b"]) == ((None, hour(2)), (hour(2), hour(0)))
    vendor.answers |= cursor_list([partner("a"), partner("b"), partner("c")], size=50)
    assert vendor.run(at=hour(3)).status == "ok"
    assert standing()["a"] == (hour(3), hour(2))
    assert standing()["b"] == (hour(2), hour(0))  # once
    assert [row["resolved_at"] for row in rows(engine, rejects, "source = 'other'")] == [None]
    vendor.answers |= cursor_list([bad("a"), partner("b"), partner("c")], size=50)
    vendor.run(at=hour(4))
    (again,) = rows(engine, rejects, "source = 'x' AND item = 'a'")
    assert (again["resolved_at"], again["first_seen_at"]) == (None, hour(0))
    assert (again["payload"], again["path"]) == (bad("a"), "status")


def test_a_parameter_goes_also_where_another_layer_has_one_of_its_name(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=50)
    given(vendor, 0, layer("L", x=1, y=2), layer("M", y=1))
    given(vendor, 1, layer("L", x=1), layer("M", y=5))
    assert parameters(engine, "L")["y"][1:3] == (2, "deleted")
    assert parameters(engine, "M")["y"][:3] == (5, 2, "updated")


def test_a_parameter_goes_also_where_a_run_that_waits_still_has_it(engine: Engine) -> None:
    vendor = statsig(engine, {}, size=1)

    def show(*layers: Any) -> None:
        vendor.answers |= numbered_list(layers, size=1)

    show(layer("L", x=1, y=2), layer("M"))
    vendor.run(at=hour(0))
    show(layer("L", x=5, y=5), layer("M"))
    last = "/console/v1/layers?limit=1&page=2"
    vendor.answers[last] = 503
    assert vendor.run(at=hour(1), backfill=WHOLE).status == "parked"
    show(layer("L", x=6), layer("M"))
    assert vendor.run(at=hour(2)).status == "ok"
    found = parameters(engine, "L")
    assert (found["x"][:3], found["y"][1:3]) == ((6, 2, "updated"), (2, "deleted"))
