"""The index: one row for each member of each archive. Only what is in it is restored."""

import posixpath
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from interlcm.errors import printable
from pipeline import storage
from pipeline.cluster.spread import spread
from pipeline.config.limits import Limits
from pipeline.index import code_pages
from pipeline.index.changed import Changed
from pipeline.index.copies import FILE, Index, kept
from pipeline.index.files import index_files, parquet_files
from pipeline.index.overlaps import apart
from pipeline.index.removed import KIND, NONE, Removed, removed
from pipeline.index.rows import Listing, rows_of, state_of
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.sources import Source, expand
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output

_CHUNK = 8192  # rows turned into Arrow at a time: a few MB of Python objects
_GROUP = 65536  # rows of a Parquet row group


@dataclass(frozen=True)
class IndexSummary:
    """Counts of an index: archives, members (rows), photos (members that are files), their bytes, errors.

    changed: files of folders that changed since they were indexed. Their rows still are those of the earlier files.
    gone: (source, member) of indexed files that folders do not have any more. notes: a line for each source that was
    not indexed as it was named. index: the index that was counted, of which 10^5 files take a while to list.
    """

    archives: int
    members: int
    photos: int
    bytes: int
    errors: int
    changed: tuple[Changed, ...] = ()
    gone: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    index: Index = field(default_factory=Index, compare=False, repr=False)


def build_index(found: Sequence[Source], output: str, limits: Limits, zip_names: str = "") -> IndexSummary:
    """Write OUTPUT/index/, one Parquet file per archive, several archives at a time, and count its content.

    found: the archives of the named sources, from `sources.expand`. zip_names: the code page of names in zips that do
    not say theirs; those of an archive indexed before stay as they are.

    Archives indexed before are kept, except those that could not be read to their end: they may have been repaired. A
    folder is listed again: its new files are added, and the summary names those that changed. If storage fails for one
    archive, the others are still indexed, and then StorageError is raised.
    """
    output = storage.canonical(output)
    environment = storage_client.environment()
    before = kept(output)
    broken, gone = _broken_files(before), removed(before)
    found, notes = apart(found, before)
    files = index_files(code_pages.settled(found, before, zip_names), output, list(before.files), broken)
    tasks = ((*file, output, limits, environment, broken, gone.get(file[0].uri, NONE)) for file in files)
    tried = list(spread(_try_archive, tasks))
    failures = [result for result in tried if isinstance(result, storage.StorageError)]
    if failures:
        raise failures[0]
    listings = [result for result in tried if isinstance(result, Listing)]
    pairs = zip((source for source, *_ in files), tried, strict=True)
    notes += [_of_guess(source, *one.guessed) for source, one in pairs if isinstance(one, Listing) and one.guessed[1]]
    changed = tuple(one for listing in listings for one in listing.changed)
    missing = tuple(one for listing in listings for one in listing.gone)
    after = kept(output) if any(listing.written for listing in listings) else before
    return replace(summary(after), changed=changed, gone=missing, notes=tuple(notes))


def _of_guess(source: Source, path: str, count: int) -> str:
    """A line for a zip whose names are in a code page that it does not say."""
    found = f"{source.uri}: names whose code page the zip does not say, read as cp437: {count}"
    remedy = "if they look wrong, use another OUTPUT and name the code page, such as --zip-names cp932"
    return f"{found}, such as {printable(path)}; {remedy}"


def listed(sources: Iterable[str], output: str, limits: Limits) -> pa.Table:
    """The index rows of sources, in memory and in their archives' order, for a job that keeps no index.

    Files below `output` are left out. Raises StorageError if a source is missing, or storage fails.
    """
    found = expand(list(sources), output)
    rows = [_batches(rows_of(source, source.name, output, {}, limits, Listing(), NONE)) for source in found]
    return pa.Table.from_batches([batch for batches in rows for batch in batches], INDEX_SCHEMA)


def _try_archive(
    source: Source,
    name: str,
    target: str,
    output: str,
    limits: Limits,
    environment: dict[str, str],
    broken: Set[str],
    gone: Removed,
) -> Listing | storage.StorageError:
    """`write_archive`; returns a StorageError instead of raising it, so that other archives are indexed."""
    storage_client.configure(environment)
    try:
        return write_archive(source, name, target, output, limits, broken, gone)
    except storage.StorageError as error:
        return error


def write_archive(
    source: Source,
    name: str,
    target: str,
    output: str,
    limits: Limits,
    broken: Set[str] = frozenset(),
    gone: Removed = NONE,
) -> Listing:
    """Index one archive into one Parquet file that appears whole. Rows pass in chunks, never all at once.

    broken: the index files that are written anew. gone: photos that were removed; their rows stay.
    """
    sink = pa.BufferOutputStream()
    indexed = _indexed_members(source, output, broken)
    known = len(indexed)
    listing = Listing()
    rows, last = 0, None
    stay = gone.rows.get(posixpath.basename(target), [])
    found = chain(stay, rows_of(source, name, output, indexed, limits, listing, gone))
    with pq.ParquetWriter(sink, INDEX_SCHEMA, compression="zstd") as writer:
        for batches in _grouped(_batches(found), _GROUP // _CHUNK):
            writer.write_table(pa.Table.from_batches(batches, INDEX_SCHEMA))
            rows, last = rows + sum(map(len, batches)), batches[-1]["kind"][-1].as_py()
    nothing_new = (known or gone.ids) and not rows
    nothing_left = (rows, last) == (len(stay) + 1, "archive") and storage.exists(target)  # the earlier list is better
    listing.written = not nothing_new and not nothing_left
    if listing.written:
        storage.write_bytes(target, sink.getvalue().to_pybytes())
    if source.kind == "folder" and source.only is None and last != "archive" and not listing.partial:
        listing.gone = [(source.uri, path) for path in indexed if not source.leaves_out(output, path)]
    return listing


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, _CHUNK)):
        yield pa.RecordBatch.from_pylist(chunk, INDEX_SCHEMA)


def _grouped(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[list[pa.RecordBatch]]:
    while group := list(islice(batches, size)):
        yield group


def _indexed_members(source: Source, output: str, broken: Set[str]) -> dict[str, int]:
    """Members of a folder in whole files of the index, with their `state_of`: the folder may have grown or changed."""
    if source.kind != "folder":
        return {}
    files = [file for file in parquet_files(output) if Source.digest_in(file) == source.digest and file not in broken]
    found: dict[str, int] = {}
    here = pc.field("source") == source.uri
    for batch in _dataset(output, files).to_batches(["member", "member_version"], filter=here):
        found.update(zip(batch["member"].to_pylist(), map(state_of, batch["member_version"].to_pylist()), strict=True))
    return found


def _broken_files(index: Index) -> set[str]:
    """The names of the index files that hold the error of an archive."""
    return {name for batch in index.batches([], pc.field("kind") == "archive") for name in batch[FILE].to_pylist()}


def summary(index: Index) -> IndexSummary:
    """Count the content of an index."""
    members = photos = size = errors = 0
    for batch in index.batches(["kind", "bytes"]):
        kinds = {item["values"]: item["counts"] for item in batch["kind"].value_counts().to_pylist()}
        errors += kinds.get("archive", 0)
        members += len(batch) - kinds.get("archive", 0) - kinds.get(KIND, 0)
        photos += kinds.get("file", 0)
        size += pc.sum(batch["bytes"]).as_py() or 0
    archives = len({Source.digest_in(file) for file in index.files})
    return IndexSummary(archives, members, photos, size, errors, index=index)


def _dataset(output: str, files: list[str]) -> ds.Dataset:
    fs, folder = storage.arrow_filesystem(Output(output).index)
    paths = [f"{folder}/{file}" for file in files]
    return ds.dataset(paths, schema=INDEX_SCHEMA, filesystem=fs, format="parquet")
