"""`interlcm query`: SQL over the results of a run."""

import contextlib
import csv
import io
import json
import math
import re
import shutil
import sys
from enum import StrEnum
from typing import Annotated, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import typer

from interlcm.errors import printable
from jobs.counted import counted
from jobs.options import Run
from pipeline import storage
from pipeline.manifest.query import columns, reading, run
from pipeline.storage.output import check_not_in_run

# The most frequent queries. --worst sorts by identity if its weights were there, else by PSNR.
QUESTIONS = {
    "--worst": """
        SELECT member, face_index, round(identity_similarity::DOUBLE, 3) AS identity_similarity,
            round(psnr::DOUBLE, 2) AS psnr, round(delta_e::DOUBLE, 2) AS delta_e, review_reason, restored_uri
        FROM faces ANTI JOIN (SELECT photo_id FROM photos WHERE status = 'withdrawn') USING (photo_id)
        ORDER BY faces.identity_similarity NULLS LAST, faces.psnr, photo_id, face_index LIMIT {worst}
    """,
    "--failures": """
        SELECT source, member, page, error_type, error FROM photos WHERE status = 'failed'
        ORDER BY error_type, source, member, page
    """,
    "--warnings": """
        SELECT source, member, page, status, warning.kind, warning.words FROM (
            SELECT source, member, page, status, unnest(warnings) AS warning FROM photos)
        ORDER BY warning.kind, source, member, page
    """,
    "--review": """
        WITH standing AS MATERIALIZED (FROM decisions WHERE void IS NULL)
        SELECT member, page, face_index, review_reason, coalesce(own.decision, whole.decision) AS decision,
            CASE WHEN own.decision IS NULL THEN coalesce(nullif(own.comment, ''), whole.comment) ELSE own.comment
                END AS comment,
            CASE WHEN own.decision IS NULL THEN whole.reviewer ELSE own.reviewer END AS reviewer, restored_uri, photo_id
        FROM faces
        LEFT JOIN standing AS own USING (photo_id, face_index)
        LEFT JOIN (FROM standing WHERE face_index IS NULL) AS whole USING (photo_id)
        WHERE needs_review ORDER BY source, member, page, face_index
    """,
    "--summary": """
        SELECT status, count(*) AS photos, sum(face_count)::BIGINT AS faces,
            sum(bytes) FILTER (page = 1)::BIGINT AS bytes,
            round(sum(coalesce(seconds_fetch, 0) + coalesce(seconds_detect, 0) + coalesce(seconds_restore, 0)
                + coalesce(seconds_compose, 0)), 1) AS seconds,
            min(finished_at) AS first_finished, max(finished_at) AS last_finished
        FROM photos GROUP BY status ORDER BY photos DESC, status
    """,
}


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def query(
    output: Run,
    sql: Annotated[
        str, typer.Argument(metavar="[SQL]", help="One SQL statement that only reads (DuckDB's dialect).")
    ] = "",
    worst: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Built-in query: the N restored faces least like their input."),
    ] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="Built-in query: photos that failed, with the reason.")
    ] = False,
    warnings: Annotated[
        bool, typer.Option("--warnings", help="Built-in query: what was lost or is uncertain in photos.")
    ] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Built-in query: faces that need review, with decisions.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Built-in query: photos, faces, bytes and seconds by status.")
    ] = False,
    describe: Annotated[
        bool, typer.Option("--describe", help="Describe every column: type, unit and meaning.")
    ] = False,
    format: Annotated[
        Format | None,
        typer.Option(help="Output format of the rows. Default: that of the suffix of --to, else a table."),
    ] = None,
    to: Annotated[str, typer.Option(metavar="FILE", help="Write to this path or URI instead of the screen.")] = "",
) -> None:
    """Query a run, in SQL or with a built-in query.

    There are five views: photos has the newest row of each photo, faces one row per face of these photos, index every
    member of the sources, manifest every row ever written, and decisions the exports from the report that are in
    OUTPUT/decisions/. A statement can read only these views.

    \b
    Examples:
      interlcm query restored --worst 20
      interlcm query restored "SELECT status, count(*) FROM photos GROUP BY status"
      interlcm query restored --failures --to failed.csv
      interlcm query restored "SELECT member, face_index, psnr FROM faces WHERE needs_review" --format json
    """
    suffix = to.rpartition(".")[2].lower()
    if format is None and "." in to.rpartition("/")[2] and suffix not in (*Format, "txt"):
        raise typer.BadParameter(f"--to {to}: unknown suffix; give .csv, .json, .parquet or .txt, or --format")
    format = format or (Format(suffix) if suffix in list(Format) else Format.table)
    if format is Format.parquet and not to:
        raise typer.BadParameter("parquet needs a file; name one with --to", param_hint="--format")
    ready = {"--worst": worst is not None, "--failures": failures, "--warnings": warnings}
    ready |= {"--review": review, "--summary": summary}
    asked = [name for name, given in {"SQL": bool(sql), **ready, "--describe": describe}.items() if given]
    if len(asked) != 1:
        given = " and ".join(asked) or "nothing"
        raise typer.BadParameter(f"{given} given: give exactly one of SQL, {', '.join(ready)}, --describe")

    if to:
        check_not_in_run(to)

    question = sql or QUESTIONS.get(asked[0], "").format(worst=worst)
    rows = columns(output) if describe else reading(output, lambda connection: run(connection, question), whole=not sql)
    data = WRITERS[format](rows)
    if to:
        storage.write_bytes(to, data)
        print(f"{counted(rows.num_rows, 'row')} written to {to}")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def as_table(rows: pa.Table) -> bytes:
    """DuckDB's own table: every row. On a terminal as many columns as fit into it, elsewhere all, with whole values."""
    text = io.StringIO()
    terminal = sys.stdout.isatty()
    width: dict[str, Any] = (
        {"max_width": shutil.get_terminal_size().columns} if terminal else {"max_width": WIDE, "max_col_width": WIDE}
    )
    with contextlib.redirect_stdout(text):
        duckdb.from_arrow(rows).show(**width, max_rows=max(rows.num_rows, 1))
    return printable(text.getvalue().rstrip("\n"), kept="\n").encode() + b"\n"


def as_csv(rows: pa.Table) -> bytes:
    """RFC 4180 with a header; null is an empty cell, a list or struct is JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue().encode()


def as_json(rows: pa.Table) -> bytes:
    """One array with one object per row, one row per line. Times are ISO 8601; infinities and NaN become null."""
    lines = ",\n ".join(json.dumps(_finite(row), default=_text, ensure_ascii=False) for row in rows.to_pylist())
    return f"[{CONTROL.sub(_escaped, lines)}]\n".encode()


def as_parquet(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(rows, file)
    return file.getvalue()


WIDE = 1_000_000  # characters: no value of a manifest is that long
CONTROL = re.compile("[\x7f-\x9f]")  # control characters that JSON allows in a string
FORMULA = ("=", "+", "-", "@", "\t", "\r")
WRITERS = {Format.table: as_table, Format.csv: as_csv, Format.json: as_json, Format.parquet: as_parquet}


def _cell(value: Any) -> Any:
    """A cell of a CSV. Text that a spreadsheet would run as a formula begins with an apostrophe, as OWASP advises."""
    if isinstance(value, str):
        return printable(f"'{value}" if value.startswith(FORMULA) else value, kept="\n\t")
    if isinstance(value, dict | list):
        return json.dumps(_finite(value), default=_text, ensure_ascii=False)
    return _text(value) if hasattr(value, "isoformat") else value


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
