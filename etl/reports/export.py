"""Rows as files for other programs: CSV, JSON Lines, Parquet; batch by batch, as they come. Pure.

All CSV that etl writes is written here.

The same rows give the same bytes, whatever database they come from. A value of a column of kind
`json` is the parsed JSON, or MISSING where the column has no value, which is not JSON's null.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

from etl.errors import ConfigError
from etl.formatting import csv_safe
from etl.json_text import iso_time, json_text
from etl.transform.diff import MISSING

Kind = Literal["text", "integer", "number", "flag", "time", "json"]
Batch = Sequence[Sequence[Any]]

ROW_GROUP_BYTES = 32 * 2**20  # of one row group of Parquet before it is packed; what memory holds


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, and what its values are."""

    name: str
    kind: Kind


class CsvStyle(StrEnum):
    """Who reads the CSV.

    SAFE: anybody; times are ISO, and no spreadsheet takes a cell for a formula. EXACT: programs;
    every text as it is stored. SPREADSHEET: as SAFE, with a byte order mark and times that
    spreadsheets know for times, to the second.
    """

    SAFE = "safe"
    EXACT = "exact"
    SPREADSHEET = "spreadsheet"


def write_csv(
    file: BinaryIO,
    columns: Sequence[Column],
    batches: Iterable[Batch],
    style: CsvStyle = CsvStyle.SAFE,
) -> int:
    """How many rows were written."""
    count = 0
    file.write(csv_header(columns, style))
    for batch in batches:
        file.write(csv_rows(columns, batch, style))
        count += len(batch)
    return count


def csv_header(columns: Sequence[Column], style: CsvStyle = CsvStyle.SAFE) -> bytes:
    """The first line."""
    mark = codecs.BOM_UTF8 if style is CsvStyle.SPREADSHEET else b""
    return mark + _lines([[column.name for column in columns]])


def csv_rows(columns: Sequence[Column], rows: Batch, style: CsvStyle = CsvStyle.SAFE) -> bytes:
    """The lines of some rows; a value that is not there is an empty cell."""
    kinds = [column.kind for column in columns]
    return _lines([_cell(*pair, style) for pair in zip(row, kinds, strict=True)] for row in rows)


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any, kind: Kind, style: CsvStyle) -> object:
    if value is MISSING or (value is None and kind != "json"):
        return None
    if kind in ("text", "json"):
        text = json_text(value) if kind == "json" else value
        is_number = kind == "json" and isinstance(value, int | float)
        return text if style is CsvStyle.EXACT or is_number else csv_safe(text)
    if kind == "time":
        to_second = style is CsvStyle.SPREADSHEET
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if to_second else iso_time(value)
    return ("true" if value else "false") if kind == "flag" else value


def write_jsonl(file: BinaryIO, columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    """How many rows were written, an object a line; JSON columns without value are left out."""
    labels = [f"{json.dumps(column.name)}:" for column in columns]
    count = 0
    for batch in batches:
        lines = (
            ",".join(
                label + _json(value)
                for label, value in zip(labels, row, strict=True)
                if value is not MISSING
            )
            for row in batch
        )
        file.write("".join(f"{{{line}}}\n" for line in lines).encode())
        count += len(batch)
    return count


def _json(value: Any) -> str:
    return _ENCODER.encode(iso_time(value) if isinstance(value, datetime) else value)


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), sort_keys=True)


def write_parquet(file: BinaryIO, columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    """How many rows were written; times are UTC to the microsecond, JSON has the type JSON."""
    arrow, parquet = pyarrow()
    schema = arrow.schema([(column.name, _arrow_type(arrow, column.kind)) for column in columns])
    count, waiting, size = 0, [], 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            part = arrow.record_batch(list(_arrays(arrow, schema, columns, batch)), schema=schema)
            waiting.append(part)
            count, size = count + len(batch), size + part.nbytes
            if size >= ROW_GROUP_BYTES:
                writer.write_table(arrow.Table.from_batches(waiting))
                waiting, size = [], 0
        if waiting:
            writer.write_table(arrow.Table.from_batches(waiting))
    return count


def pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module; ConfigError with the remedy where it is not installed."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow: pip install '.[export]' in etl's checkout, "
            "or use --format csv or jsonl"
        ) from None
    return arrow, parquet


def _arrow_type(arrow: Any, kind: Kind) -> Any:
    match kind:
        case "integer":
            return arrow.int64()
        case "number":
            return arrow.float64()
        case "flag":
            return arrow.bool_()
        case "time":
            return arrow.timestamp("us", tz="UTC")
        case "json" if hasattr(arrow, "json_"):
            return arrow.json_()
        case _:
            return arrow.string()


def _arrays(arrow: Any, schema: Any, columns: Sequence[Column], batch: Batch) -> Iterable[Any]:
    for column, field, values in zip(columns, schema, zip(*batch, strict=True), strict=True):
        texts = column.kind == "json"
        told = [_json_or_none(value) for value in values] if texts else values
        yield arrow.array(told, type=field.type)


def _json_or_none(value: Any) -> str | None:
    return None if value is MISSING else json_text(value)


Writer = Callable[[BinaryIO, Sequence[Column], Iterable[Batch]], int]

WRITERS: Mapping[str, Writer] = MappingProxyType(
    {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
)


def writer(form: str, style: CsvStyle = CsvStyle.SAFE) -> Writer:
    """What writes this format; the style counts for CSV only."""
    return partial(write_csv, style=style) if form == "csv" else WRITERS[form]
