"""The views of a run in DuckDB, on tables of its files, and a connection that reads nothing else."""

from __future__ import annotations

import functools
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset

from pipeline.index.schema import INDEX_SCHEMA, ROOT_ID
from pipeline.manifest import standing
from pipeline.manifest.schema import EXPORTED_SCHEMA, MANIFEST_SCHEMA, NEWEST_FIRST

# The manifest is a log: the newest row of a photo counts. `settled` has rows of which it is known that they are. A
# photo that is in `unsettled`, too, is looked at again. row_number gives one row even if two have the same time, such
# as a row that is still in a small part and already in a merged one. A photo_id implies its source and member; they
# are named too, because DuckDB pushes conditions on the columns of PARTITION BY, and on no others, below the window,
# into the statistics of the files.
NEWEST = """
CREATE TEMP VIEW newest AS
    {settled} ANTI JOIN (SELECT photo_id FROM unsettled) USING (photo_id)
    UNION ALL
    SELECT * FROM (
        {unsettled} UNION ALL {settled} SEMI JOIN (SELECT photo_id FROM unsettled) USING (photo_id))
    QUALIFY row_number() OVER (PARTITION BY photo_id, source, member ORDER BY {order}) = 1;
"""
# For a query about all photos. The window above holds all that it reads, faces too; most photos have one row.
NEWEST_OF_ALL = """
CREATE TEMP TABLE repeated AS
    SELECT photo_id FROM unsettled GROUP BY photo_id HAVING count(*) > 1
    UNION
    SELECT photo_id FROM settled SEMI JOIN (SELECT photo_id FROM unsettled) USING (photo_id);
CREATE TEMP VIEW newest AS
    {settled} ANTI JOIN repeated USING (photo_id)
    UNION ALL
    {unsettled} ANTI JOIN repeated USING (photo_id)
    UNION ALL
    SELECT * FROM (
        {unsettled} SEMI JOIN repeated USING (photo_id) UNION ALL {settled} SEMI JOIN repeated USING (photo_id))
    QUALIFY row_number() OVER (PARTITION BY photo_id, source, member ORDER BY {order}) = 1;
"""
# Tables of the manifest: all files but small parts, those of them that are settled, the others, and small parts.
ARROW = ("arrow_manifest", "arrow_settled", "arrow_unsettled", "arrow_parts")
LOG = """
CREATE TEMP VIEW manifest AS FROM arrow_manifest UNION ALL FROM arrow_parts;
CREATE TEMP VIEW unsettled AS FROM arrow_unsettled UNION ALL FROM arrow_parts;
"""
ALL_SETTLED = "CREATE TEMP VIEW newest AS {settled};"
SOURCES = "CREATE TEMP VIEW sources AS SELECT DISTINCT source FROM index;"
NONE_SETTLED = """
CREATE TEMP VIEW newest AS {unsettled}
    QUALIFY row_number() OVER (PARTITION BY photo_id, source, member ORDER BY {order}) = 1;
"""
# Parts of the first version have no pages.
ROWS = f"""
SELECT * REPLACE (coalesce(page, 1) AS page, coalesce(pages, 1) AS pages), {ROOT_ID} AS index_id FROM """
VIEWS = """
CREATE TEMP VIEW photos AS SELECT * EXCLUDE (faces, index_id) REPLACE ({restored_uri} AS restored_uri) FROM newest;
CREATE TEMP VIEW faces AS SELECT * REPLACE (
    {restored_uri} AS restored_uri, box::FLOAT[4] AS box, landmarks::FLOAT[2][5] AS landmarks) FROM (
    SELECT photo_id, source, member, page, restored_uri, face.* FROM (
        SELECT photo_id, source, member, page, restored_uri, unnest(faces) AS face FROM newest));
"""

# After these no connection to the database can reach a file, the network, a Python variable or a setting. Data that
# does not fit into memory goes to the system's folder for temporary files.
LOCKS = """
SET enable_progress_bar = false;
SET GLOBAL TimeZone = 'UTC';
SET GLOBAL temp_directory = '{temporary}';
SET GLOBAL enable_external_access = false;
SET GLOBAL python_enable_replacements = false;
SET GLOBAL lock_configuration = true;
"""


def empty() -> duckdb.DuckDBPyConnection:
    """A connection with the same tables and nothing in them."""
    log = dict.fromkeys(ARROW, MANIFEST_SCHEMA.empty_table())
    others = {"index": INDEX_SCHEMA.empty_table(), "exported": EXPORTED_SCHEMA.empty_table()}
    return connected(log | others, memory="", newest=ALL_SETTLED)


def of_rows(manifest: pa.Table, index: pa.Table, sources: pa.Table) -> duckdb.DuckDBPyConnection:
    """A connection with these rows of a manifest and of an index. sources: those that the index has."""
    rows = dict.fromkeys(ARROW, MANIFEST_SCHEMA.empty_table()) | {"index": _padded(index, INDEX_SCHEMA)}
    rows["arrow_manifest"] = rows["arrow_unsettled"] = _padded(manifest, MANIFEST_SCHEMA)
    connection = connected(rows | {"exported": EXPORTED_SCHEMA.empty_table()}, memory="", newest=NONE_SETTLED)
    connection.execute("DROP VIEW sources")
    connection.register("sources", sources)
    return connection


def _padded(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with all columns of a schema; those that they lack are null."""
    columns = [rows[one.name] if one.name in rows.column_names else pa.nulls(len(rows), one.type) for one in schema]
    return pa.table(columns, schema=schema)


def connected(
    tables: dict[str, Any], memory: str, newest: str, native: Sequence[str] = (), restored_uri: str = "restored_uri"
) -> duckdb.DuckDBPyConnection:
    """native: files that DuckDB reads itself, beside those in `settled`, for statements of this software alone.
    restored_uri: expression for where a row's file is."""
    connection = _database(memory, native) if native else locked(memory)
    for name, rows in tables.items():
        connection.register(name, rows)
    arrow = isinstance(tables["arrow_settled"], pyarrow.dataset.Dataset) or not native
    sources = ["FROM arrow_settled"] * arrow + [f"FROM read_parquet({_listed(native)})"] * bool(native)
    connection.execute(LOG)
    connection.execute(f"CREATE TEMP VIEW settled AS {' UNION ALL '.join(sources)}")
    rows = {name: f"{ROWS} {name}" for name in ("settled", "unsettled")}
    decisions = standing.VIEW if len(tables["exported"]) else standing.NONE_EXPORTED
    connection.execute(newest.format(**rows, order=NEWEST_FIRST) + SOURCES + decisions)
    connection.execute(VIEWS.format(restored_uri=restored_uri))
    return connection


def locked(memory: str = "") -> duckdb.DuckDBPyConnection:
    """A connection without tables. Its own are temporary, so no other connection sees them."""
    return _shared(memory).cursor()


@functools.cache
def _shared(memory: str) -> duckdb.DuckDBPyConnection:
    """One database of this process for each limit of memory: to make one takes far longer than a cursor."""
    return _database(memory)


def _listed(paths: Sequence[str]) -> str:
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def _database(memory: str, paths: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
    """A database that is closed to everything but these files. No statement that a user typed may meet one that is
    open."""
    connection = duckdb.connect(config={"memory_limit": memory} if memory else {})
    if paths:  # DuckDB takes one that is gone for a folder: it may look into that too, to say that there are no files
        connection.execute(f"SET allowed_paths = {_listed([*paths, *(f'{path}/**/*.parquet' for path in paths)])}")
    temporary = Path(tempfile.gettempdir(), f"interlcm-query-{uuid.uuid4().hex}")  # made if needed, removed in the end
    connection.execute(LOCKS.format(temporary=str(temporary).replace("'", "''")))
    return connection
