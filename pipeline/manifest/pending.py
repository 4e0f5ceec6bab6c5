"""The remaining work of a run: the index compared with the manifest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet

from pipeline.index.copies import Index
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.units import PLACE, Pending, places
from pipeline.manifest import query, views
from pipeline.manifest.counts import MEMBERS, MEMORY, RESULTS, ROOT
from pipeline.manifest.schema import MANIFEST_SCHEMA

# The rows for --where: for each photo its index row with its newest result, and for each index row without all its
# results one with status 'pending'. error and error_type are in both; those of the result win.
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
WHERE i.kind <> 'removed'
"""


# Photos that were lost because their archive could not be read: an outage, or an archive that was repaired since.
AGAIN = """
SELECT photo_id FROM index SEMI JOIN (
    SELECT root AS photo_id FROM results WHERE status = 'failed' AND error_type = 'archive_unreadable'
) USING (photo_id) WHERE kind = 'file' AND error_type IS NULL
"""


def pending(output: str, where: str | None = None, index: Index | None = None) -> Pending:
    """The index rows to work on. index: if its files were listed already.

    Without `where`: rows without a manifest row, or without one for each of their pages, and those whose archive could
    not be read. `where` is an SQL condition
    on the columns of the index and of the view `photos`, with status 'pending' for rows that lack results. If it names
    only index columns (`member LIKE 'box7/%'`), it chooses among pending rows, so that starting again continues. If it
    asks about results (`status = 'failed'`), it chooses among all rows, and the matches are done again.

    Raises `StorageError` if there is no run at OUTPUT, `query.QueryError` for a condition that DuckDB refuses.
    """
    index = index or Index.of(output)
    work = partial(_pending, index=index, where=where)
    return query.reading(output, work, decided=where is not None, memory=MEMORY, whole=where is None, index=index)


def left(pending: Pending, attempt: int) -> Pending:
    """Those of these rows of which this attempt has not made a result, or not one for each of their pages."""
    index = Index.of(pending.output)

    def work(connection: duckdb.DuckDBPyConnection) -> pa.Table:
        connection.execute(f"{RESULTS} DELETE FROM results WHERE attempt IS DISTINCT FROM {attempt}; {MEMBERS}")
        connection.register("all_places", pa.RecordBatchReader.from_batches(PLACE, places(index)))
        connection.register("share", pending.places)
        found = "SELECT * EXCLUDE (photo_id) FROM all_places SEMI JOIN share USING (file, row)"
        chosen = "SELECT root AS photo_id FROM untouched UNION SELECT root FROM incomplete"
        sql = f"{found} SEMI JOIN ({chosen}) AS chosen USING (photo_id) ORDER BY file, row"
        return query.run(connection, sql)

    return replace(
        pending, places=query.reading(pending.output, work, decided=False, memory=MEMORY, whole=True, index=index)
    )


def selected(output: str, where: str) -> list[dict[str, Any]]:
    """The index rows of members of which a row or a page matches a condition, as `pending` understands it."""

    def work(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
        connection.execute(RESULTS + MEMBERS)
        chosen = f"SELECT index_photo_id FROM ({_candidates()}) WHERE (\n{where}\n)"
        sql = f"SELECT * FROM index WHERE kind <> 'archive' AND photo_id IN ({chosen}) ORDER BY source, member"
        rows: list[dict[str, Any]] = query.run(connection, sql).to_pylist()
        return rows

    return query.reading(output, work, memory=MEMORY)


def check_where(where: str) -> None:
    """Raise QueryError for a condition that no run could answer. Asked of empty tables, before there is an index."""
    if not where.strip():
        raise query.StatementError("it is empty; give a condition, such as \"status = 'failed'\"")
    with views.empty() as connection:
        connection.execute(RESULTS + MEMBERS)
        query.run(connection, f"SELECT * FROM ({_candidates()}) WHERE (\n{where}\n)")


def _candidates() -> str:
    shared = ", ".join(sorted(set(INDEX_SCHEMA.names) & set(MANIFEST_SCHEMA.names)))
    return CANDIDATES.format(shared=shared, root=ROOT)


def _pending(connection: duckdb.DuckDBPyConnection, index: Index, where: str | None) -> Pending:
    connection.execute(RESULTS + MEMBERS)
    if where is None:
        chosen = f"SELECT root AS photo_id FROM untouched UNION SELECT root FROM incomplete UNION ({AGAIN})"
    else:
        only_open = "status = 'pending' AND" if _asks_index_only(where) else ""
        chosen = f"SELECT index_photo_id AS photo_id FROM ({_candidates()}) WHERE {only_open} (\n{where}\n)"
    connection.register("places", pa.RecordBatchReader.from_batches(PLACE, places(index)))
    found = f"SELECT * EXCLUDE (photo_id) FROM places SEMI JOIN ({chosen}) AS chosen USING (photo_id)"
    (indexed,) = query.run(connection, "SELECT count(*) FROM index")[0].to_pylist()
    (attempt,) = query.run(connection, "SELECT coalesce(max(attempt), 0) FROM results")[0].to_pylist()
    left = query.run(connection, f"{found} ORDER BY file, row")
    return Pending(index.output, list(index.files), left, indexed, attempt)


def _asks_index_only(where: str) -> bool:
    """Whether the condition needs only columns of the index."""
    # error and error_type are in both index and results, and mean the result's if there is one: see CANDIDATES.
    index = pa.schema([column for column in INDEX_SCHEMA if column.name not in ("error", "error_type")])
    with views.locked() as connection:
        connection.register("index", index.empty_table())
        try:
            query.run(connection, f"SELECT * FROM index WHERE (\n{where}\n)")
        except query.QueryError as error:
            if isinstance(error.__cause__, duckdb.BinderException | duckdb.CatalogException):
                return False  # it names other columns; the query will show whether they exist
            raise
    return True
