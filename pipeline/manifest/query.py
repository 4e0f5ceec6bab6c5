"""SQL on one run: read-only DuckDB views of the Parquet files of its index and manifest, on any storage."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import duckdb
import pyarrow as pa

from interlcm.errors import InterLCMError, one_line
from pipeline import storage
from pipeline.index.copies import Index
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest import dataset, decisions, moved, views
from pipeline.manifest import files as manifest_files
from pipeline.manifest import settled as manifest_settled
from pipeline.manifest.parts import Listed
from pipeline.manifest.schema import (
    DECISION_SCHEMA,
    DECISIONS,
    EXPORTED_SCHEMA,
    FACE,
    MANIFEST_SCHEMA,
    PENDING,
    REMOVED,
    SCHEMA_VERSION,
    STATUSES,
)
from pipeline.manifest.settled import Settled
from pipeline.storage.output import Output

# The views with their schemas; columns that a view has from unnesting or joining are described in their own view.
DESCRIBED = {
    "photos": list(MANIFEST_SCHEMA),
    "faces": [*MANIFEST_SCHEMA, *FACE],
    "index": list(INDEX_SCHEMA),
    "manifest": list(MANIFEST_SCHEMA),
    "decisions": list(DECISION_SCHEMA),
}

# DESCRIBE, SUMMARIZE and SHOW count as SELECT.
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
ATTEMPTS = 5
# What Arrow and DuckDB say of a file that is not there any more.
_GONE = ("FileNotFoundError", "No such file", "No files found")
TEXTS = {*STATUSES, REMOVED, PENDING, *DECISIONS}  # which people write without quotes
_UNREADABLE = "reading the stream registered as"  # how DuckDB's message begins when Arrow cannot read a file

Result = TypeVar("Result")


class QueryError(InterLCMError):
    """A query that cannot be answered: what DuckDB says about it, in one line."""


class StatementError(QueryError):
    """SQL that is wrong as it stands, whatever the run has."""

    exit_code = 2


class GoneError(QueryError):
    """A file of the run disappeared while it was read; its rows are in another one."""


def reading(
    output: str,
    work: Callable[[duckdb.DuckDBPyConnection], Result],
    decided: bool = True,
    memory: str = "",
    whole: bool = False,
    index: Index | None = None,
    listing: Sequence[Listed] | None = None,
) -> Result:
    """The result of `work` on a connection to the run (`connect`), repeated if a part disappeared while it was read.

    Compaction removes small parts once their rows are in a merged one, where a new connection finds them. If the files
    of the manifest were listed already, nothing is repeated: `gone` tells this error from others.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            with connect(output, decided, memory, whole, index, listing) as connection:
                return work(connection)
        except (QueryError, duckdb.Error) as error:
            cause = error if isinstance(error, duckdb.Error) else error.__cause__
            if listing is None and gone(error) and attempts < ATTEMPTS:
                continue
            if _UNREADABLE in str(cause) and not gone(error):
                _check_rows(output)
            if isinstance(error, duckdb.Error):
                raise refused(error) from error
            raise


@contextlib.contextmanager
def streaming(output: str, memory: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection (`connect`) for a query about all photos whose rows are read a few at a time.

    What was done with the first rows cannot be undone, so nothing is repeated if a part disappears: QueryError.
    """
    try:
        with connect(output, memory=memory, whole=True) as connection:
            yield connection
    except duckdb.Error as error:
        raise refused(error) from error


def gone(error: BaseException) -> bool:
    """Whether an error says that a file disappeared while it was read."""
    cause = error if isinstance(error, duckdb.Error) else error.__cause__
    return isinstance(error, GoneError) or any(words in str(cause) for words in _GONE)


def _check_rows(output: str) -> None:
    """StorageError for a damaged file of the run: DuckDB does not say which one it is."""
    place = Output(output)
    manifest_files.check_rows(place.index, place.index_files())
    manifest_files.check_rows(place.manifest, place.manifest_files())


def connect(
    output: str,
    decided: bool = True,
    memory: str = "",
    whole: bool = False,
    index: Index | None = None,
    listing: Sequence[Listed] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection with the tables of a run and nothing else: it cannot open files.

    `photos` has the newest row of each photo without its faces, `faces` one row per face of these, `index` all members,
    `manifest` every row ever written, `decisions` what curators decided (no files are read if `decided` is false). They
    are empty until something is written. `restored_uri` in `photos` and `faces` is where the file is now, if OUTPUT was
    moved; in `manifest` it is as it was written.

    memory: limit for DuckDB, such as "1GB"; else most of the machine's. whole: the query is about all photos, not about
    some that a condition selects; see `views.NEWEST_OF_ALL`. On a local disk DuckDB then reads files of the manifest
    itself, which takes half of the time; it can open no others. index, listing: the files of index and manifest, if
    they were listed already.

    Raises `storage.StorageError` if there is no run at OUTPUT, or it cannot be read or was written by a later version
    of this software, and `decisions.DecisionError`.
    """
    place = Output(output)
    place.check_run()
    settled, parts, large = _log(output, listing)
    native = dataset.local_paths(place.manifest, _plain(settled.values())) if whole else []
    others = [(one.name, one.groups) for one in settled.values() if not native or one not in _plain(settled.values())]
    tables = {
        "index": dataset.of(output, [(name, None) for name in (index or Index.of(output)).pieces()], INDEX_SCHEMA),
        "arrow_manifest": dataset.of(place.manifest, [(name, None) for name in (*settled, *large)], MANIFEST_SCHEMA),
        "arrow_settled": dataset.of(place.manifest, others, MANIFEST_SCHEMA),
        "arrow_unsettled": dataset.of(place.manifest, [(name, None) for name in large], MANIFEST_SCHEMA),
        "arrow_parts": parts,
        "exported": decisions.read_decisions(output) if decided else EXPORTED_SCHEMA.empty_table(),
    }
    some = views.NEWEST if settled else views.NONE_SETTLED
    all_settled = not large and not len(parts)
    newest = views.ALL_SETTLED if all_settled else views.NEWEST_OF_ALL if whole else some
    return views.connected(tables, memory, newest, native, moved.restored_uri(storage.canonical(output)))


def _log(output: str, listing: Sequence[Listed] | None) -> tuple[dict[str, Settled], pa.Table, list[str]]:
    """The settled files of a manifest, the rows of its small parts, and its other files, as of one moment."""
    place = Output(output)
    for _ in range(ATTEMPTS if listing is None else 1):
        sizes = {name: size for name, size, _ in (place.manifest_listing() if listing is None else listing)}
        settled = manifest_settled.read_settled(output, sizes)
        unsettled = [(name, size) for name, size in sizes.items() if name not in settled]
        if (found := manifest_files.loaded(place.manifest, unsettled)) is not None:
            return settled, *found
    words = "its files disappear while they are read; does another program delete them?"
    raise GoneError(f"{place.manifest}: {words}")


def _plain(settled: Iterable[Settled]) -> list[Settled]:
    """The files of which all rows are newest, with the columns of this version."""
    return [one for one in settled if one.newest == one.rows and one.schema_version == SCHEMA_VERSION]


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The rows of one statement that only reads (SELECT, DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN).

    Raises `QueryError` for anything else and for what DuckDB refuses.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READING:
            example = "SELECT status, count(*) FROM photos GROUP BY 1"
            raise StatementError(f"only one statement that reads is allowed, such as: {example}")
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise refused(error, sql) from error


def refused(error: duckdb.Error, sql: str = "") -> QueryError:
    """The error of this module for one of DuckDB's, which may be the machine's: no memory, no space, no file."""
    others = (duckdb.OperationalError, duckdb.InternalError, duckdb.InterruptException, duckdb.FatalException)
    machines = isinstance(error, others) or _UNREADABLE in str(error)
    return (QueryError if machines else StatementError)(_words(error, sql))


def _words(error: duckdb.Error, sql: str) -> str:
    """DuckDB's message without the quoted statement, or the traceback of a file system, at its end; and what is meant,
    most likely, by a name that is none."""
    said = one_line(str(error).partition("\nLINE ")[0].partition(" Detail: Python exception:")[0])
    if table := re.search("Table with name (.+?) does not exist", said):
        return f"no table {table[1]}; there are {', '.join(DESCRIBED)}"
    column = re.search('Referenced column "(.+?)" not found', said)
    meant = column and (f'"{column[1]}"' in sql or column[1] in TEXTS)
    return said + (f"; a text stands in single quotes: '{column[1]}'" if column and meant else "")


def columns(output: str) -> pa.Table:
    """Every column of every view: view, column, SQL type, unit, meaning; from the Arrow metadata."""

    def described(connection: duckdb.DuckDBPyConnection) -> pa.Table:
        rows = []
        for view, fields in DESCRIBED.items():
            known = {
                field.name: {key.decode(): text.decode() for key, text in field.metadata.items()} for field in fields
            }
            for name, kind in zip(*run(connection, f"DESCRIBE {view}").columns[:2], strict=True):
                words = known[name.as_py()]
                short = "STRUCT[]" if name.as_py() == "faces" else kind.as_py()  # its fields are in the view faces
                rows.append((view, name.as_py(), short, words["unit"], words["description"]))
        return pa.table(list(zip(*rows, strict=True)), names=["view", "column", "type", "unit", "meaning"])

    return reading(output, described)
