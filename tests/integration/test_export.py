"""Data out: the same bytes from both databases, typed, safe for spreadsheets, piece by piece."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pyarrow import parquet, types
from sqlalchemy import Engine, inspect, text

from etl.errors import ConfigError
from etl.sandbox import Sandbox
from tests.conftest import Databases
from tests.support.database import VIEWS, count
from tests.support.internals.database import relations, snapshot
from tests.support.internals.values import (
    MISSING,
    WRITERS,
    Column,
    CsvStyle,
    write_csv,
    write_jsonl,
)
from tests.support.runs import settings_for, small, sync_all
from tests.support.twins import copy_rows

FORMULA = '=HYPERLINK("http://127.0.0.1/","x")'
ODD = [1e300, 1.5e-7, -0.0, 12345678901234567890, 1.0, {"b": [], "a": None}, "\x1b[31m", None]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
NAMES = sorted({*relations.TABLES, *VIEWS})

Twins = tuple[Engine, Engine]


@pytest.fixture(scope="module")
def twins(databases: Databases) -> Iterator[Twins]:
    """SQLite and Postgres with the same rows: three syncs of a world with hostile names."""
    with databases("sqlite") as one, databases("postgres") as other:
        with Sandbox(small(3)) as sandbox:
            settings, world = settings_for(sandbox), sandbox.world
            for number in range(3):
                sync_all(one, settings)
                world.evolve(changed=0.3, deleted=2, created=3, restored=1)
                if number == 0:
                    world.create("layers", "projects", name=FORMULA)
                    odd = [{"name": "odd", "type": "array", "defaultValue": ODD}]
                    world.update("statsig", "layers", "Checkout", parameters=odd, newField=1)
        copy_rows(one, other)
        yield one, other


def exported(engine: Engine, name: str, form: str, source: str | None = None) -> bytes:
    """The bytes of a table or view."""
    file = io.BytesIO()
    with snapshot(engine) as connection:
        asked = relations.relation(connection, name)
        batches = relations.batches(connection, asked, source)
        WRITERS[form](file, relations.columns_of(asked.rows), batches)
    return file.getvalue()


def lines(engine: Engine, name: str, source: str | None = None) -> Sequence[Any]:
    """The rows as JSON Lines tell them."""
    return [json.loads(line) for line in exported(engine, name, "jsonl", source).splitlines()]


def test_every_table_and_view_of_the_schema_may_be_exported_but_the_internal_ones(
    twins: Twins,
) -> None:
    for engine in twins:
        with engine.connect() as connection:
            assert relations.names(connection) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_databases_give_the_same_bytes_in_every_format(twins: Twins, name: str) -> None:
    one, other = twins
    for form in WRITERS:
        assert exported(one, name, form) == exported(other, name, form), form


@pytest.mark.parametrize("name", NAMES)
def test_no_row_is_left_out_or_doubled(twins: Twins, name: str) -> None:
    one, _ = twins
    told = exported(one, name, "csv").decode()
    assert len(list(csv.reader(io.StringIO(told, newline="")))) == count(one, name) + 1
    assert len(lines(one, name)) == count(one, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_called_what_postgres_knows_it_to_be(twins: Twins, name: str) -> None:
    _, other = twins
    with other.connect() as connection:
        asked = relations.relation(connection, name)
        told = {column.name: column.kind for column in relations.columns_of(asked.rows)}
        real = {one["name"]: str(one["type"]) for one in inspect(connection).get_columns(name)}
    kinds = {"TEXT": "text", "BIGINT": "integer", "INTEGER": "integer", "BOOLEAN": "flag"}
    kinds |= {"TIMESTAMP": "time", "JSONB": "json", "DOUBLE PRECISION": "number"}
    assert told == {column: kinds[type_] for column, type_ in real.items()}


def test_times_are_iso_in_utc_and_flags_are_flags(twins: Twins) -> None:
    row = lines(twins[0], "layers")[0]
    assert row["first_seen_at"].endswith("+00:00")
    assert row["is_deleted"] is False


def test_json_is_json_with_every_number_as_it_was_sent(twins: Twins) -> None:
    for engine in twins:
        (row,) = [row for row in lines(engine, "layer_parameters_current") if row["key"] == "odd"]
        assert row["default_value"] == [*ODD[:6], "\x1b[31m", None]


def test_null_and_no_value_are_told_apart(twins: Twins) -> None:
    told = lines(twins[0], "change_fields")
    assert any("old_value" not in row for row in told)
    assert all("path" in row for row in told)


def test_no_cell_of_a_csv_is_a_formula_or_a_command(twins: Twins) -> None:
    for name in ("projects", "layer_parameters", "change_feed"):
        told = exported(twins[0], name, "csv").decode()
        cells = [cell for row in csv.reader(io.StringIO(told, newline="")) for cell in row]
        assert [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")] == []
        assert "\x1b" not in told
    assert f"'{FORMULA}" in [
        cell
        for row in csv.reader(exported(twins[0], "projects", "csv").decode().splitlines())
        for cell in row
    ]


def test_a_negative_number_is_a_number_in_a_csv() -> None:
    file = io.BytesIO()
    write_csv(file, [Column("free", "integer"), Column("name", "text")], [[(-20, "-20")]])
    assert file.getvalue() == b"free,name\r\n-20,'-20\r\n"


def test_a_json_number_is_a_number_and_a_text_that_looks_like_a_formula_is_not() -> None:
    values = [-5, -1.5e-7, True, None, "-5", "=1", [-5], MISSING]
    cells = ["-5", "-1.5e-07", "true", "null", '"-5"', '"=1"', "[-5]", ""]
    for style in CsvStyle:
        file = io.BytesIO()
        write_csv(file, [Column("v", "json"), Column("n", "integer")], [[(v, 1) for v in values]])
        read = csv.reader(io.StringIO(file.getvalue().decode(), newline=""))
        assert [row[0] for row in read] == ["v", *cells], style


@pytest.mark.parametrize("name", NAMES)
def test_every_time_of_every_table_has_one_form(twins: Twins, name: str) -> None:
    """Else pandas leaves a column with and without fractions as text, and says nothing."""
    with twins[0].connect() as connection:
        columns = relations.columns_of(relations.relation(connection, name).rows)
    times = [column.name for column in columns if column.kind == "time"]
    told = csv.DictReader(io.StringIO(exported(twins[0], name, "csv").decode(), newline=""))
    for row in (*told, *lines(twins[0], name)):
        assert all(re.fullmatch(TIME, row[time]) for time in times if row[time])


def test_whole_seconds_and_other_zones_have_that_form_too() -> None:
    zone = timezone(timedelta(hours=2))
    times = [datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 1, 2, 5, tzinfo=zone)]
    for write in (write_csv, write_jsonl):
        file = io.BytesIO()
        write(file, [Column("at", "time"), Column("n", "integer")], [[(at, 1) for at in times]])
        told = file.getvalue().decode()
        assert re.findall(TIME, told) == ["2026-01-02T03:00:00.000000+00:00"] * 2


def test_exact_csv_is_what_is_stored(twins: Twins) -> None:
    file = io.BytesIO()
    rows = [("=1+1", "\x1b[31m"), ("@x", "a\r\nb"), ("'", "\t"), ("-", "\x00\x85")]
    columns = [Column("a", "text"), Column("b", "text")]
    write_csv(file, columns, [rows], CsvStyle.EXACT)
    read = csv.reader(io.StringIO(file.getvalue().decode(), newline=""))
    assert [tuple(row) for row in read] == [("a", "b"), *rows]
    with snapshot(twins[0]) as connection:
        asked = relations.relation(connection, "projects")
        file = io.BytesIO()
        columns = relations.columns_of(asked.rows)
        write_csv(file, columns, relations.batches(connection, asked), CsvStyle.EXACT)
    names = [row["name"] for row in lines(twins[0], "projects")]
    told = csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))
    assert [row["name"] for row in told] == names
    assert FORMULA in names


def test_csv_for_spreadsheets_has_a_mark_their_times_and_no_formula() -> None:
    file = io.BytesIO()
    row = (datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "=1", True, "ü")
    columns = [Column("at", "time"), Column("t", "text"), Column("f", "flag"), Column("u", "text")]
    write_csv(file, columns, [[row]], CsvStyle.SPREADSHEET)
    told = file.getvalue()
    assert told.startswith(codecs.BOM_UTF8)
    assert told[3:].decode() == "at,t,f,u\r\n2026-01-02 03:04:05,'=1,true,ü\r\n"


def test_parquet_has_types_and_the_same_rows(twins: Twins) -> None:
    table = parquet.read_table(io.BytesIO(exported(twins[1], "layers", "parquet")))
    assert types.is_timestamp(table.schema.field("changed_at").type)
    assert table.schema.field("changed_at").type.tz == "UTC"
    assert types.is_boolean(table.schema.field("is_deleted").type)
    assert types.is_integer(table.schema.field("layer_id").type)
    told = lines(twins[1], "layers")
    assert table.num_rows == len(told)
    for column in ("layer_id", "key", "is_deleted"):
        assert table.column(column).to_pylist() == [row[column] for row in told]
    assert [json.loads(raw) for raw in table.column("raw").to_pylist()] == [r["raw"] for r in told]


def test_row_groups_are_written_as_they_come(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.reports.export.ROW_GROUP_BYTES", 1)
    monkeypatch.setattr("etl.db.large_rows.MAX_ROWS", 10)
    found = parquet.ParquetFile(io.BytesIO(exported(twins[0], "layers", "parquet")))
    assert found.num_row_groups == -(-count(twins[0], "layers") // 10)


@pytest.mark.parametrize("name", ["layers", "layer_versions", "change_fields", "run_streams"])
def test_the_rows_of_one_source_are_its_own(twins: Twins, name: str) -> None:
    for engine in twins:
        parts = [lines(engine, name, source) for source in ("ld", "ly", "st")]
        assert sum(map(len, parts)) == count(engine, name)
        assert all(parts[::2])
        assert not lines(engine, name, "nobody")


@pytest.mark.parametrize("step", range(3))
def test_the_past_is_the_same_in_both_databases_and_what_was_there_then(
    twins: Twins, step: int
) -> None:
    one, other = twins
    runs = [row["observed_at"] for row in lines(one, "runs") if row["source"] == "st"]
    moment = datetime.fromisoformat(runs[step])
    for name in ("projects", "layers_current", "layer_parameters", "change_feed"):
        told = [past(engine, name, moment) for engine in (one, other)]
        assert told[0] == told[1]
        assert told[0]


def past(engine: Engine, name: str, moment: datetime) -> bytes:
    """The bytes of a table as it was."""
    file = io.BytesIO()
    with snapshot(engine) as connection:
        asked = relations.relation_at(connection, name, moment)
        write_jsonl(file, relations.columns_of(asked.rows), relations.batches(connection, asked))
    return file.getvalue()


def test_a_wrong_name_is_answered_with_the_nearest_ones(twins: Twins) -> None:
    for engine in twins:
        for name in ("nix", "leases", "ledger", "staged_layers", "alembic_version", "layers; --"):
            with engine.connect() as connection, pytest.raises(ConfigError) as refused:
                relations.relation(connection, name)
            assert str(refused.value).startswith(f"no table or view {name!r}")
            assert len(str(refused.value)) < 300
        with engine.connect() as connection, pytest.raises(ConfigError, match="layer_capacity"):
            relations.relation(connection, "layer_capcity")


def test_a_view_of_the_users_may_be_exported_too(twins: Twins) -> None:
    told = []
    for engine in twins:
        with engine.begin() as connection:
            connection.execute(text(OWN_VIEW))
        try:
            told.append({form: exported(engine, "own_view", form) for form in WRITERS})
        finally:
            with engine.begin() as connection:
                connection.execute(text("DROP VIEW own_view"))
    assert len(told[0]["csv"].splitlines()) == 4
    assert b"T" in told[1]["csv"].splitlines()[1]


OWN_VIEW = """
CREATE VIEW own_view AS
SELECT source, COUNT(*) AS all_of_them, MAX(changed_at) AS newest, AVG(version) AS mean
FROM projects GROUP BY source
"""
