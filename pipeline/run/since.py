"""The members of a run that files of its manifest have to do with: their rows without these files, and with them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.index.copies import Index
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest import dataset, query, views
from pipeline.manifest import files as manifest_files
from pipeline.manifest import settled as manifest_settled
from pipeline.manifest.counts import ROOT
from pipeline.manifest.parts import Listed
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.storage.output import Output

MOST_BYTES = 128 << 20  # of new files, some 400,000 photos: for more, a count of everything is not much slower
# What a count needs of a row.
NARROW = ("photo_id", "source", "member", "page", "pages", "status", "error_type", "warnings", "face_count",
          "weights_digest", "settings_digest", "attempt", "finished_at")  # fmt: skip
SCHEMA = pa.schema([MANIFEST_SCHEMA.field(name).remove_metadata() for name in NARROW])

TOUCHED = f"""
CREATE TEMP TABLE touched AS
    SELECT DISTINCT {ROOT} AS root, source, member FROM (FROM fresh UNION ALL FROM recent);
"""
EARLIER = f"FROM held SEMI JOIN touched ON touched.root = {ROOT}"
MINE = "FROM near SEMI JOIN touched ON touched.root = near.photo_id"
NAMED = "SELECT DISTINCT source FROM named SEMI JOIN touched USING (source)"


@dataclass(frozen=True)
class Members:
    """Some members of a run. earlier: their rows in the files that were counted. fresh: in those that came since.

    index: their rows in the index. sources: those of these members that the index has.
    """

    earlier: pa.Table
    fresh: pa.Table
    index: pa.Table
    sources: pa.Table

    def before(self) -> duckdb.DuckDBPyConnection:
        """A connection with these members as they were counted."""
        return views.of_rows(self.earlier, self.index, self.sources)

    def now(self) -> duckdb.DuckDBPyConnection:
        """A connection with these members as they are now."""
        return views.of_rows(pa.concat_tables([self.earlier, self.fresh]), self.index, self.sources)


def members(
    output: str, index: Index, counted: Sequence[Listed], new: Sequence[Listed], start: datetime
) -> Members | None:
    """The members that have rows in new files of the manifest, or in the others a row after `start`.

    None if the new files are large. Raises StorageError for a damaged file; QueryError if one disappeared.
    """
    if sum(size for _, size, _ in new) > MOST_BYTES:
        return None
    place = Output(output)
    known = manifest_settled.read_settled(output, {name: size for name, size, _ in counted})
    pieces = [(name, known[name].groups if name in known else None) for name, *_ in counted]
    held = dataset.of(place.manifest, pieces, MANIFEST_SCHEMA)
    rows = dataset.of(output, [(name, None) for name in index.pieces()], INDEX_SCHEMA)
    fresh = _rows(place.manifest, new)
    with views.locked() as connection:
        try:
            connection.register("fresh", fresh)
            connection.register("recent", _scan(held, NARROW, pc.field("finished_at") > pa.scalar(start, _TIME)))
            connection.execute(TOUCHED)
            touched = connection.table("touched").to_arrow_table()
            connection.register("held", _scan(held, NARROW, _near(touched)))
            earlier = connection.sql(EARLIER).to_arrow_table().cast(SCHEMA)
            connection.register("near", _scan(rows, ("photo_id", "source"), _between(touched, "source")))
            mine = connection.sql(MINE).to_arrow_table()
            connection.register("named", _scan(rows, ("source",), _between(touched, "source")))
            sources = connection.sql(NAMED).to_arrow_table()
        except duckdb.Error as error:
            raise query.refused(error) from error
    return Members(earlier, fresh, mine, sources)


def _scan(files: Any, columns: Sequence[str], filter: pc.Expression) -> pa.RecordBatchReader:
    """Columns of the rows of these files, which is a table if there are none. Skips row groups by their statistics."""
    if isinstance(files, pa.Table):
        return files.select(columns).to_reader()
    return files.scanner(columns=list(columns), filter=filter).to_reader()


def _near(touched: pa.Table) -> pc.Expression:
    """Rows of the touched members, and others between them. A removed photo has no name."""
    place = _between(touched, "source")
    if len(pc.unique(touched["source"])) != 1:
        return place
    return place & (_between(touched, "member") | (pc.field("member") == ""))


def _between(touched: pa.Table, column: str) -> pc.Expression:
    if not len(touched):
        return pc.scalar(False)
    ends = pc.min_max(touched[column])
    return (pc.field(column) >= ends["min"].as_py()) & (pc.field(column) <= ends["max"].as_py())


def _rows(folder: str, files: Sequence[Listed]) -> pa.Table:
    """The rows of new files, with the columns of SCHEMA. Files are read at once and parsed one after the other, since
    a thousand small ones are work for one core, and threads would wait for each other."""
    uris = [(storage.join(folder, name), size) for name, size, _ in files]
    with ThreadPoolExecutor(manifest_files.REQUESTS) as threads:
        read = threads.map(lambda one: manifest_files.small(*one), uris)
        return pa.concat_tables([SCHEMA.empty_table(), *(_parsed(*one) for one in zip(uris, read, strict=True))])


def _parsed(uri: tuple[str, int], data: bytes | None) -> pa.Table:
    if data is None:
        raise query.GoneError(f"{uri[0]}: it was merged meanwhile")
    file = manifest_files.file_of(uri[0], data)
    there = set(file.schema_arrow.names)
    try:
        rows = file.read([one for one in NARROW if one in there], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise manifest_files.damaged(uri[0], error) from error
    if rows.schema.equals(SCHEMA):
        return rows.replace_schema_metadata()
    columns = [rows[one.name] if one.name in there else pa.nulls(len(rows), one.type) for one in SCHEMA]
    return pa.table(columns, names=SCHEMA.names).cast(SCHEMA)


_TIME = MANIFEST_SCHEMA.field("finished_at").type
