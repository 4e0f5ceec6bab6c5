"""The manifest: one row for each index row, the log of what was done and the checkpoint of what is left to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet

from pipeline import query, storage
from pipeline.columns import MANIFEST_SCHEMA, STATUSES
from pipeline.index import INDEX_SCHEMA

REQUIRED = ("photo_id", "source", "member", "status", "finished_at")

# What --where sees: the index row with the newest result of its photo; status is 'pending' where there is none.
# error and error_type are in both, and the result's count.
CANDIDATES = """
SELECT i.* EXCLUDE (error, error_type),
    coalesce(p.error_type, i.error_type) AS error_type, coalesce(p.error, i.error) AS error,
    coalesce(p.status, 'pending') AS status,
    p.* EXCLUDE ({shared}, status)
FROM index AS i LEFT JOIN photos AS p ON i.photo_id = p.photo_id
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


def pending(output: str, where: str | None = None) -> pa.Table:
    """The index rows to work on (`INDEX_SCHEMA`), in the order in which they lie in their archives.

    Without `where`: those that have no manifest row yet. `where` is an SQL condition on the columns of the index and of
    the view `photos`, with status 'pending' for rows that have no result. One that names index columns only
    (`member LIKE 'box7/%'`) chooses among the rows without a result, so that starting again continues. One that asks
    about results (`status = 'failed'`) chooses among all rows, and those that match are to be done again.

    Raises `StorageError` when there is no run at OUTPUT, `query.QueryError` for a condition that DuckDB refuses.
    """
    shared = ", ".join(sorted(set(INDEX_SCHEMA.names) & set(MANIFEST_SCHEMA.names)))
    if where is None:
        chosen = "SELECT photo_id FROM index ANTI JOIN manifest USING (photo_id)"
    else:
        only_open = "status = 'pending' AND" if _asks_index_only(where) else ""
        chosen = f"SELECT photo_id FROM ({CANDIDATES.format(shared=shared)}) WHERE {only_open} (\n{where}\n)"
    rows = f"SELECT * FROM index SEMI JOIN ({chosen}) AS chosen USING (photo_id)"
    with query.connect(output) as connection:
        return query.run(connection, f'{rows} ORDER BY source, "offset", member, photo_id').cast(INDEX_SCHEMA)


def _asks_index_only(where: str) -> bool:
    """Whether the condition has a meaning where there is an index and nothing else."""
    # Which error is meant, the archive's or the photo's? The result's, where both have one: see CANDIDATES.
    index = pa.schema([column for column in INDEX_SCHEMA if column.name not in ("error", "error_type")])
    with duckdb.connect() as connection:
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
    """The equation of a run, each term counted by itself: photos, but for `faces`."""

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


def counts(output: str) -> Counts:
    """Count the index, the newest results of what is in it and what has none.

    Raises `StorageError` when there is no run at OUTPUT.
    """
    with query.connect(output) as connection:

        def number(sql: str) -> int:
            return int(query.run(connection, sql)[0][0].as_py())

        by_status = _pairs(connection, f"SELECT status, count(*) FROM {INDEXED} GROUP BY status")
        return Counts(
            indexed=number("SELECT count(*) FROM index"),
            **{status: by_status.get(status, 0) for status in STATUSES},
            pending=number("SELECT count(*) FROM index ANTI JOIN manifest USING (photo_id)"),
            faces=number(f"SELECT coalesce(sum(face_count), 0)::BIGINT FROM {INDEXED}"),
            failures=_pairs(connection, FAILURES),
        )


# The log keeps the row of a broken archive that was mended and indexed anew; its index row is gone.
INDEXED = "(SELECT * FROM photos SEMI JOIN index USING (photo_id)) AS indexed"
FAILURES = f"""
SELECT coalesce(error_type, 'unknown'), count(*) FROM {INDEXED} WHERE status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1
"""


def _pairs(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, int]:
    table = query.run(connection, sql)
    return dict(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))
