"""`interlcm query`: SQL over the results of a run."""

import contextlib
import csv
import io
import json
import math
import shutil
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.options import Run

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def query(
    output: Run,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that reads, in DuckDB's SQL.")],
    format: Annotated[Format, typer.Option(help="How to write the rows.")] = Format.table,
    to: Annotated[str, typer.Option(metavar="FILE", help="Path or URI to write to, in place of the screen.")] = "",
) -> None:
    """Ask about a run in SQL.

    The views are photos (one row per photo) and faces (one row per face); index holds every member of the sources.
    The statement can read these and nothing else. DESCRIBE photos lists the columns.

    \b
    Examples:
      interlcm query restored "SELECT status, count(*) FROM photos GROUP BY status"
      interlcm query restored "SELECT member, error FROM photos WHERE status = 'failed'" --format csv --to failed.csv
      interlcm query restored "SELECT member, face_index, psnr FROM faces WHERE needs_review" --format json
    """
    if format is Format.parquet and not to:
        raise typer.BadParameter("parquet is not for the screen; name a file with --to", param_hint="--format")
    from pipeline import storage
    from pipeline.query import connect, run

    with connect(output) as connection:
        rows = run(connection, sql)
    data = WRITERS[format](rows)
    if to:
        storage.write_bytes(to, data)
        print(f"{rows.num_rows} rows written to {to}")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def as_table(rows: "pa.Table") -> bytes:
    """DuckDB's own drawing: every row, and as many columns as the terminal is wide."""
    import duckdb

    text = io.StringIO()
    columns = shutil.get_terminal_size(fallback=(160, 0)).columns
    with contextlib.redirect_stdout(text):
        duckdb.from_arrow(rows).show(max_width=columns, max_rows=max(rows.num_rows, 1))
    return text.getvalue().rstrip("\n").encode() + b"\n"


def as_csv(rows: "pa.Table") -> bytes:
    """RFC 4180 with a header; null is an empty cell, a list or struct is JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue().encode()


def as_json(rows: "pa.Table") -> bytes:
    """One array with an object per row and line. Times are ISO 8601; infinities and NaN, which JSON lacks, are null."""
    lines = ",\n ".join(json.dumps(_finite(row), default=_text, ensure_ascii=False) for row in rows.to_pylist())
    return f"[{lines}]\n".encode()


def as_parquet(rows: "pa.Table") -> bytes:
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(rows, file)
    return file.getvalue()


WRITERS = {Format.table: as_table, Format.csv: as_csv, Format.json: as_json, Format.parquet: as_parquet}


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(_finite(value), default=_text, ensure_ascii=False)
    return _text(value) if hasattr(value, "isoformat") else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
