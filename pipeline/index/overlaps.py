"""Sources that name the same files: each file is indexed once.

Within one call `sources.expand` sees them. Here are those of an earlier call: a folder below one that is indexed, and a
folder above one that is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import pyarrow.compute as pc

from pipeline import storage
from pipeline.index.copies import Index
from pipeline.index.sources import Source, expand

_PART = re.compile(r"\.[0-9a-f]{8}\.parquet")  # the end of an index file of single photos of a folder


def apart(found: Sequence[Source], index: Index) -> tuple[list[Source], list[str]]:
    """The sources, so that no file that is indexed already is indexed again; and a note on each that was changed."""
    whole = {Source.digest_in(file) for file in index.files if not _PART.search(file)}
    kept: list[Source] = []
    notes: list[str] = []
    for source in found:
        above = next((uri for uri in _above(source.uri) if Source(uri, "folder").digest in whole), None)
        if source.kind == "folder" and above is not None and source.digest not in whole:
            notes.append(f"already indexed, in {above}: {source.uri}")
            continue
        kept.append(source)
    known = {source.digest for source in kept}
    outer = [source for source in kept if source.kind == "folder" and source.only is None]
    inner = _folders(index, known) if outer else []
    for place, source in enumerate(kept):
        below = [uri for uri in inner if source in outer and uri.startswith(storage.below(source.uri, ""))]
        if below:
            kept[place] = replace(source, without=(*source.without, *below))
            notes += [f"already indexed by itself, and left out of {source.uri}: {uri}" for uri in below]
    # An inner folder is listed for itself, so that its new files are not missed.
    again = [
        one for uri in inner if any(uri in source.without for source in kept) for one in _listed(uri, index.output)
    ]
    return list({source.uri + source.part: source for source in [*kept, *again]}.values()), notes


def _listed(folder: str, output: str) -> list[Source]:
    return expand([folder], output, lambda words: None) if storage.exists(folder) else []


def _above(uri: str) -> Iterator[str]:
    """The folders that a source is below, the nearest first."""
    scheme, mark, path = uri.rpartition("://")
    while (parent := posixpath.dirname(path.rstrip("/"))) not in ("", path):
        path = parent
        yield f"{scheme}{mark}{path}"


def _folders(index: Index, known: Set[str]) -> list[str]:
    """The folders among the sources of an index, but for those with these digests."""
    batches = index.batches(["source"], pc.field("archive_format") == "folder")
    found = {uri for batch in batches for uri in pc.unique(batch["source"]).to_pylist()}
    return sorted(uri for uri in found if Source(uri, "folder").digest not in known)
