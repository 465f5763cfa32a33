"""Other people's programs on what etl keeps and writes; runs in an environment of their own.

`python peer.py FOLDER`: FOLDER has etl.db and exports of its tables (NAME.csv, .jsonl, .parquet).
`python peer.py FOLDER URL`: dlt copies the change feed of that database incrementally.
Each check fails by an AssertionError.
"""

import datetime
import sqlite3
import sys
from pathlib import Path

import dlt
import duckdb
import duckdb_extension_sqlite_scanner
import pandas
from dlt.sources.sql_database import sql_table

TIMES = ("first_seen_at", "changed_at", "deleted_at")
AS_TEXT = {  # numbers arrive as text: docs/reporting.md says so
    "layer_parameter_history": {"layer_id", "position", "version"},
    "layer_parameter_versions": {"layer_id", "position", "version"},
    "layer_reservation_history": {"layer_id", "reservation_percent", "version"},
    "layer_reservation_versions": {"layer_id", "reservation_percent", "version"},
    "source_freshness": {"last_run_id"},
    "stale_projects": {"unchanged_days", "project_id"},
}


def plain(value, as_text):
    """A value as both programs may be said to have it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ", "microseconds")
    if isinstance(value, bool):
        return int(value)
    return str(value) if as_text and value is not None else value


def check_duckdb(folder):
    """DuckDB's SQLite extension gives the rows of every table and view that sqlite3 gives."""
    base = Path(duckdb_extension_sqlite_scanner.__file__).parent
    (extension,) = base.glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension")
    other = duckdb.connect()
    other.execute(f"LOAD '{extension}'")
    other.execute(f"ATTACH '{folder / 'etl.db'}' AS etl (TYPE sqlite, READ_ONLY)")
    names = [row[0] for row in other.execute("SHOW TABLES FROM etl").fetchall()]
    plainly = sqlite3.connect(folder / "etl.db")
    of_sqlite = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    assert sorted(names) == sorted(row[0] for row in plainly.execute(of_sqlite))
    for name in names:
        columns = [row[1] for row in plainly.execute(f"PRAGMA table_info({name})")]
        texts = [column in AS_TEXT.get(name, ()) for column in columns]
        rows = [
            sorted(
                (
                    tuple(plain(*pair) for pair in zip(row, texts, strict=True))
                    for row in source.execute(f"SELECT * FROM {place}").fetchall()
                ),
                key=repr,
            )
            for source, place in ((plainly, name), (other, f"etl.{name}"))
        ]
        assert rows[0] == rows[1], name
    for name in ("layers", "change_feed"):
        for suffix in ("csv", "jsonl", "parquet"):
            read = {"csv": "read_csv", "jsonl": "read_json", "parquet": "read_parquet"}[suffix]
            query = f"SELECT count(*) FROM {read}('{folder / name}.{suffix}')"
            (there,) = plainly.execute(f"SELECT count(*) FROM {name}").fetchone()
            assert other.execute(query).fetchone() == (there,), (name, suffix)
    types = other.execute(f"DESCRIBE SELECT * FROM '{folder / 'layers.parquet'}'").fetchall()
    found = {row[0]: row[1] for row in types}
    assert found["raw"] == "JSON"
    assert found["changed_at"] == "TIMESTAMP WITH TIME ZONE"


def check_pandas(folder):
    """pandas reads every time of CSV, JSON Lines and Parquet as a time, and names as they are."""
    tables = [
        pandas.read_csv(folder / "layers.csv", parse_dates=list(TIMES)),
        pandas.read_json(folder / "layers.jsonl", lines=True, convert_dates=list(TIMES)),
        pandas.read_parquet(folder / "layers.parquet"),
    ]
    for table in tables:
        for time in TIMES[:2]:
            assert isinstance(table[time].dtype, pandas.DatetimeTZDtype), (time, table[time].dtype)
    names = [list(table["name"]) for table in tables]
    assert names[0] == names[1] == names[2]
    database = sqlite3.connect(folder / "etl.db")
    read = pandas.read_sql("SELECT changed_at FROM layers", database, parse_dates=["changed_at"])
    assert str(read["changed_at"].dtype).startswith("datetime64")


def check_dlt(folder, url):
    """dlt, which remembers the largest change_id, has every change once, after each run."""
    resource = sql_table(
        url, table="changes", incremental=dlt.sources.incremental("change_id"), backend="sqlalchemy"
    )
    pipeline = dlt.pipeline(
        "changes",
        pipelines_dir=str(folder / "dlt"),
        destination=dlt.destinations.duckdb(str(folder / "copy.duckdb")),
        dataset_name="copied",
    )
    pipeline.run(resource)
    with pipeline.sql_client() as client:
        rows = client.execute_sql("SELECT count(*), count(DISTINCT change_id) FROM changes")
    print(*rows[0])


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if len(sys.argv) > 2:
        check_dlt(place, sys.argv[2])
    else:
        check_duckdb(place)
        check_pandas(place)
