"""SQL over one run: DuckDB views on the Parquet files of its index and manifest, read-only, on any storage."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.dataset

from pipeline import storage
from pipeline.columns import MANIFEST_SCHEMA
from pipeline.index import INDEX_SCHEMA

# The manifest is a log: the newest row of a photo counts. row_number gives one row even where two have the same time.
VIEWS = """
CREATE VIEW photos AS
    SELECT * EXCLUDE (faces) FROM manifest
    QUALIFY row_number() OVER (PARTITION BY photo_id ORDER BY finished_at DESC) = 1;
CREATE VIEW faces AS
    SELECT photo_id, member, restored_uri, face.* FROM (
        SELECT photo_id, member, restored_uri, unnest(faces) AS face FROM (
            SELECT * FROM manifest
            QUALIFY row_number() OVER (PARTITION BY photo_id ORDER BY finished_at DESC) = 1));
"""

# After these the connection can reach no file, no network, no Python variable and no setting.
LOCKS = """
SET TimeZone = 'UTC';
SET enable_external_access = false;
SET python_enable_replacements = false;
SET lock_configuration = true;
"""


# DESCRIBE, SUMMARIZE and SHOW count as SELECT.
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


class QueryError(Exception):
    """SQL that cannot run: what DuckDB says about it, in one line."""


def connect(output: str) -> duckdb.DuckDBPyConnection:
    """A connection with the tables of a run and nothing else: file access is closed.

    `photos` has the newest row of each photo without its faces, `faces` one row per face of these, `index` the members
    there are, `manifest` every row ever written. They are empty as long as nothing was written.

    Raises `storage.StorageError` when there is no run at OUTPUT, or it cannot be read.
    """
    if not storage.exists(storage.join(output, "index")):
        raise storage.StorageError(f"{output}: no run there (it has no index); name the OUTPUT of an index or restore")
    connection = duckdb.connect()
    connection.register("index", _parquet(storage.join(output, "index"), INDEX_SCHEMA))
    connection.register("manifest", _parquet(storage.join(output, "manifest"), MANIFEST_SCHEMA))
    connection.execute(VIEWS)
    connection.execute(LOCKS)
    return connection


def _parquet(folder: str, schema: pa.Schema) -> pyarrow.dataset.Dataset | pa.Table:
    names = [name for name, _ in storage.list_files(folder)] if storage.exists(folder) else []
    filesystem, path = storage.arrow_filesystem(folder)
    paths = [f"{path}/{name}" for name in names if name.endswith(".parquet")]
    if not paths:
        return schema.empty_table()
    return pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The rows of one statement that only reads (SELECT, DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN).

    Raises `QueryError` for anything else and for what DuckDB refuses.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READING:
            example = "SELECT status, count(*) FROM photos GROUP BY 1"
            raise QueryError(f"only one statement that reads is allowed, such as: {example}")
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(one_line(error)) from error


def one_line(error: duckdb.Error) -> str:
    """DuckDB's message without the picture of the statement that it ends with."""
    return " ".join(str(error).partition("\nLINE ")[0].split())
