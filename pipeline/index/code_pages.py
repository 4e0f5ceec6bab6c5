"""The code page of names in zips that do not say theirs: named once, and the same at each start of a run."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.index.copies import FILE, Index
from pipeline.index.sources import Source


def settled(found: Sequence[Source], index: Index, asked: str) -> list[Source]:
    """The sources, each with the code page with which it was indexed before, else the one that is asked for.

    Raises StorageError for a zip whose names were read in another one: its photos would get other names.
    """
    recorded = _recorded(index)
    for source in found:
        before = recorded.get(source.digest, asked)
        if asked and before != asked:
            words = f"--zip-names {asked}: its names are indexed in {before or 'UTF-8 or cp437'}"
            raise storage.StorageError(f"{source.uri}: {words}; leave out --zip-names, or name another OUTPUT")
    return [replace(source, code_page=recorded.get(source.digest, asked)) for source in found]


def _recorded(index: Index) -> dict[str, str]:
    """The code page of each indexed zip, by the digest of its source; empty: none was named."""
    found = {}
    for batch in index.batches(["zip_names"], filter=pc.field("archive_format") == "zip"):
        for row in pa.Table.from_batches([batch]).group_by([FILE, "zip_names"]).aggregate([]).to_pylist():
            found[Source.digest_in(row[FILE])] = row["zip_names"] or ""
    return found
