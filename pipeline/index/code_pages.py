"""The code page of names in zips that do not say theirs: named once, and the same at each start of a run."""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline import storage
from pipeline.index.files import parquet_files
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.sources import Source
from pipeline.storage.output import Output


def settled(found: Sequence[Source], output: str, asked: str) -> list[Source]:
    """The sources, each with the code page with which it was indexed before, else the one that is asked for.

    Raises StorageError for a zip whose names were read in another one: its photos would get other names.
    """
    recorded = _recorded(output)
    for source in found:
        before = recorded.get(source.digest, asked)
        if asked and before != asked:
            words = f"--zip-names {asked}: its names are indexed in {before or 'UTF-8 or cp437'}"
            raise storage.StorageError(f"{source.uri}: {words}; leave out --zip-names, or name another OUTPUT")
    return [replace(source, code_page=recorded.get(source.digest, asked)) for source in found]


def _recorded(output: str) -> dict[str, str]:
    """The code page of each indexed zip, by the digest of its source; empty: none was named."""
    fs, folder = storage.arrow_filesystem(Output(output).index)
    paths = [f"{folder}/{file}" for file in parquet_files(output)]
    index = ds.dataset(paths, schema=INDEX_SCHEMA, filesystem=fs, format="parquet")
    columns, found = ["__filename", "zip_names"], {}
    for batch in index.to_batches(columns, filter=pc.field("archive_format") == "zip"):
        for row in pa.Table.from_batches([batch]).group_by(columns).aggregate([]).to_pylist():
            found[Source.digest_in(posixpath.basename(row["__filename"]))] = row["zip_names"] or ""
    return found
