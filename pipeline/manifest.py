"""The manifest: one row for each photo, the log of what was done and the checkpoint of what is left to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet

from pipeline import query, storage
from pipeline.columns import MANIFEST_SCHEMA, STATUSES
from pipeline.index import INDEX_SCHEMA
from pipeline.pending import PLACE, Pending, places
from pipeline.source import parquet_files

MEMORY = "800MB"  # of DuckDB while it compares index and manifest, of 10^7 rows each; the rest goes to disk
REQUIRED = ("photo_id", "source", "member", "status", "finished_at")

# The photo_id of the index row that a manifest row belongs to: that of a further page has its number at the end.
ROOT = "CASE WHEN page > 1 THEN regexp_replace(photo_id, '-p[0-9]+$', '') ELSE photo_id END"

# The newest row of each photo that the index knows, narrow: no more is read than counting needs. The log keeps the row
# of a broken archive that was mended and indexed anew; its index row is gone.
RESULTS = f"""
CREATE TEMP TABLE results AS
    SELECT * FROM (
        SELECT {ROOT} AS root, coalesce(page, 1) AS page, coalesce(pages, 1) AS pages,
            status, error_type, face_count, finished_at
        FROM manifest
        QUALIFY row_number() OVER (PARTITION BY photo_id ORDER BY finished_at DESC) = 1)
    SEMI JOIN (SELECT photo_id AS root FROM index) USING (root);
"""

# Members with several pages: how many the newest row says there are, and which of them have a row. An older row may
# know of more: it stays a result, but nothing more of its kind is missing, or a file that lost a page would never be
# complete.
MEMBERS = """
CREATE TEMP TABLE members AS
    SELECT root, max_by(pages, finished_at) AS pages, list(DISTINCT page) AS present
    FROM results WHERE root IN (SELECT root FROM results WHERE pages > 1) GROUP BY root;
CREATE TEMP VIEW incomplete AS
    SELECT root, unnest(list_filter(range(1, pages + 1), lambda page: NOT list_contains(present, page))) AS page
    FROM members;
CREATE TEMP VIEW untouched AS
    SELECT photo_id AS root FROM index ANTI JOIN (SELECT root AS photo_id FROM results) USING (photo_id);
"""

# What --where sees: a row for each photo, the index row with its newest result; and one with status 'pending' for each
# index row that misses results. error and error_type are in both, and the result's count.
CANDIDATES = """
SELECT i.* EXCLUDE (photo_id, error, error_type), i.photo_id AS index_photo_id,
    p.photo_id, coalesce(p.error_type, i.error_type) AS error_type, coalesce(p.error, i.error) AS error,
    p.* EXCLUDE ({shared}, root)
FROM index AS i JOIN (
    SELECT {root} AS root, * FROM photos
    UNION ALL BY NAME
    SELECT DISTINCT root, root AS photo_id, 'pending' AS status
    FROM (SELECT root FROM untouched UNION ALL SELECT root FROM incomplete)
) AS p ON i.photo_id = p.root
"""


def write_part(rows: list[dict[str, Any]], output: str, attempt: str) -> str:
    """Append rows to the manifest as one Parquet file, whole or not at all, and return its URI.

    `rows` have the columns of `MANIFEST_SCHEMA` (absent ones become null; `box` and `landmarks` of a face are lists).
    The file's name comes from `attempt` and the photo_ids, so a retried task overwrites its own file, while another
    attempt at the same photos appends. Raises `ValueError` for rows that no manifest may hold.
    """
    if not rows:
        raise ValueError("a manifest part needs at least one row")
    for row in rows:
        _check(row)
    digest = hashlib.sha256("\0".join([attempt, *(row["photo_id"] for row in rows)]).encode()).hexdigest()
    uri = storage.join(output, "manifest", f"part-{digest[:20]}.parquet")
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), sink, compression="zstd")
    storage.write_bytes(uri, sink.getvalue().to_pybytes())
    return uri


def _check(row: dict[str, Any]) -> None:
    unknown = row.keys() - set(MANIFEST_SCHEMA.names)
    if unknown:
        raise ValueError(f"not in the manifest's schema: {', '.join(sorted(unknown))}")
    missing = [name for name in REQUIRED if row.get(name) is None]
    if missing:
        raise ValueError(f"a manifest row needs {', '.join(missing)}")
    if row["status"] not in STATUSES:
        raise ValueError(f"status {row['status']!r} of photo {row['photo_id']} is not one of {', '.join(STATUSES)}")


def pending(output: str, where: str | None = None) -> Pending:
    """The index rows to work on.

    Without `where`: those that have no manifest row yet, or not one for each of their pages. `where` is an SQL
    condition on the columns of the index and of the view `photos`, with status 'pending' for rows that miss results.
    One that names index columns only (`member LIKE 'box7/%'`) chooses among these, so that starting again continues.
    One that asks about results (`status = 'failed'`) chooses among all rows, and those that match are to be done again.

    Raises `StorageError` when there is no run at OUTPUT, `query.QueryError` for a condition that DuckDB refuses.
    """
    work = partial(_pending, output=output, where=where)
    return query.reading(output, work, decided=where is not None, memory=MEMORY)


def _pending(connection: duckdb.DuckDBPyConnection, output: str, where: str | None) -> Pending:
    connection.execute(RESULTS + MEMBERS)
    if where is None:
        chosen = "SELECT root AS photo_id FROM untouched UNION SELECT root FROM incomplete"
    else:
        shared = ", ".join(sorted(set(INDEX_SCHEMA.names) & set(MANIFEST_SCHEMA.names)))
        candidates = CANDIDATES.format(shared=shared, root=ROOT)
        only_open = "status = 'pending' AND" if _asks_index_only(where) else ""
        chosen = f"SELECT index_photo_id AS photo_id FROM ({candidates}) WHERE {only_open} (\n{where}\n)"
    files = parquet_files(output)
    connection.register("places", pa.RecordBatchReader.from_batches(PLACE, places(output, files)))
    found = f"SELECT * EXCLUDE (photo_id) FROM places SEMI JOIN ({chosen}) AS chosen USING (photo_id)"
    return Pending(output, files, query.run(connection, f"{found} ORDER BY file, row"))


def _asks_index_only(where: str) -> bool:
    """Whether the condition has a meaning where there is an index and nothing else."""
    # Which error is meant, the archive's or the photo's? The result's, where both have one: see CANDIDATES.
    index = pa.schema([column for column in INDEX_SCHEMA if column.name not in ("error", "error_type")])
    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        connection.register("index", index.empty_table())
        try:
            query.run(connection, f"SELECT * FROM index WHERE (\n{where}\n)")
        except query.QueryError as error:
            if isinstance(error.__cause__, duckdb.BinderException | duckdb.CatalogException):
                return False  # it names something else; whether that exists will show
            raise
    return True


@dataclass(frozen=True)
class Counts:
    """The equation of a run, each term counted by itself: photos, but for `faces`.

    `indexed` counts index rows and the further pages that a row says its member has; the terms on the other side count
    rows by status, and the pages and index rows that have none. So the equation holds when each index row is there
    once, each page of a member has one row, and each row has a status that is known.
    """

    indexed: int
    restored: int
    no_face: int
    skipped: int
    failed: int
    pending: int
    faces: int
    failures: dict[str, int]  # error_type -> failed photos, most frequent first

    @property
    def adds_up(self) -> bool:
        return self.indexed == self.restored + self.no_face + self.skipped + self.failed + self.pending


FURTHER = "SELECT sum(pages + len(list_filter(present, lambda page: page > pages)) - 1) FROM members"
FAILURES = """
SELECT coalesce(error_type, 'unknown'), count(*) FROM results WHERE status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1
"""


def counts(output: str) -> Counts:
    """Count the index, the newest results of what is in it and what has none.

    Raises `StorageError` when there is no run at OUTPUT.
    """
    return query.reading(output, counted, decided=False, memory=MEMORY)


def counted(connection: duckdb.DuckDBPyConnection) -> Counts:
    """`counts` on a connection of `query.connect`, which then also has the table `results`."""
    connection.execute(RESULTS + MEMBERS)

    def number(sql: str) -> int:
        return int(query.run(connection, sql)[0][0].as_py() or 0)

    by_status = _pairs(connection, "SELECT status, count(*) FROM results GROUP BY status")
    return Counts(
        indexed=number("SELECT count(*) FROM index") + number(FURTHER),
        **{status: by_status.get(status, 0) for status in STATUSES},
        pending=number("SELECT count(*) FROM untouched") + number("SELECT count(*) FROM incomplete"),
        faces=number("SELECT sum(face_count) FROM results"),
        failures=_pairs(connection, FAILURES),
    )


def _pairs(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, int]:
    table = query.run(connection, sql)
    return dict(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))
