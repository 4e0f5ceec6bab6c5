"""The index: one row for each member of each archive. Only what is in it is restored."""

import hashlib
import posixpath
from collections import Counter
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
from pipeline.archives import reader as archives
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.names import LONGEST_NAME, escape_name, folded_path, unescape_name
from pipeline.cluster.spread import spread
from pipeline.config.limits import Limits
from pipeline.index import code_pages
from pipeline.index.bags import Checksums
from pipeline.index.changed import Changed
from pipeline.index.copies import FILE, Index, kept
from pipeline.index.files import index_files, parquet_files
from pipeline.index.overlaps import apart
from pipeline.index.removed import KIND, NONE, Removed, removed
from pipeline.index.schema import INDEX_SCHEMA, photo_id
from pipeline.index.sources import Source, expand
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output

_CHUNK = 8192  # rows turned into Arrow at a time: a few MB of Python objects
_GROUP = 65536  # rows of a Parquet row group
UNKNOWN = -1  # see _state


@dataclass(frozen=True)
class IndexSummary:
    """Counts of an index: archives, members (rows), photos (members that are files), their bytes, errors.

    changed: files of folders that changed since they were indexed. Their rows still are those of the earlier files.
    gone: (source, member) of indexed files that folders do not have any more. notes: a line for each source that was
    not indexed as it was named.
    """

    archives: int
    members: int
    photos: int
    bytes: int
    errors: int
    changed: tuple[Changed, ...] = ()
    gone: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Listing:
    """What a listing of one source found besides its rows.

    changed: files of a folder that changed since they were indexed. gone: (source, member) of those that are not there
    any more. partial: whether some of the folder could not be read, so that nothing is known of what is gone.
    """

    changed: list[Changed] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    partial: bool = False


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
    changed = tuple(one for listing in listings for one in listing.changed)
    missing = tuple(one for listing in listings for one in listing.gone)
    return replace(summary(kept(output)), changed=changed, gone=missing, notes=tuple(notes))


def listed(sources: Iterable[str], output: str, limits: Limits) -> pa.Table:
    """The index rows of sources, in memory and in their archives' order, for a job that keeps no index.

    Files below `output` are left out. Raises StorageError if a source is missing, or storage fails.
    """
    found = expand(list(sources), output)
    rows = [_batches(_rows(source, source.name, output, {}, limits, Listing(), NONE)) for source in found]
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
    found = chain(stay, _rows(source, name, output, indexed, limits, listing, gone))
    with pq.ParquetWriter(sink, INDEX_SCHEMA, compression="zstd") as writer:
        for batches in _grouped(_batches(found), _GROUP // _CHUNK):
            writer.write_table(pa.Table.from_batches(batches, INDEX_SCHEMA))
            rows, last = rows + sum(map(len, batches)), batches[-1]["kind"][-1].as_py()
    nothing_new = (known or gone.ids) and not rows
    nothing_left = (rows, last) == (len(stay) + 1, "archive") and storage.exists(target)  # the earlier list is better
    if not nothing_new and not nothing_left:
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


def _rows(
    source: Source,
    name: str,
    output: str,
    indexed: dict[str, int],
    limits: Limits,
    listing: Listing,
    gone: Removed,
) -> Iterator[dict[str, Any]]:
    """Rows of an archive, then one with an empty member if the archive, or its rest, cannot be read.

    indexed: the members that have a row already, each with its `_state`; those that are not found stay in it. Those in
    another state now are noted in `listing`.
    """
    seen = Counter(map(_place_id, indexed))
    version = None
    format = "folder" if source.kind == "folder" else ""
    try:
        version = None if format else storage.version(source.uri)
        format = format or archives.archive_format(source.uri) or ""
        for member in _members(source, format, output, limits):
            listing.partial |= member.kind == "closed"
            state = indexed.pop(member.path, None)
            if state is not None:
                if member.version and state not in (UNKNOWN, _state(member.version)):
                    change = Changed(source.uri, member.path, member.bytes, member.version, member.checksum)
                    listing.changed.append(change)
                continue
            where = _place_id(member.path)
            occurrence = seen[where]
            seen[where] += 1
            if gone.has(source.uri, member.path, occurrence, format == "folder"):
                continue
            row = _row(source.uri, name, format, member, occurrence)
            yield row | {"source_version": version, "zip_names": source.code_page or None}
    except ArchiveError as error:
        yield _error_row(source.uri, name, format, error) | {"zip_names": source.code_page or None}
    except storage.StorageError as error:
        if error.reason != "denied":
            raise  # the archive is not to blame, so it gets no error row
        yield _error_row(source.uri, name, format, ArchiveError(str(error)))


def _state(version: str | None) -> int:
    """64 bits for the version of a file, for the same reason; UNKNOWN for an index of an earlier release."""
    return UNKNOWN if version is None else _digest64(version)


def _digest64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _place_id(path: str) -> int:
    """64 bits for where a path leads on any disk: ten million names of 4 KiB would not fit in memory."""
    return _digest64(folded_path(path))


def _row(uri: str, name: str, format: str, member: Member, occurrence: int) -> dict[str, Any]:
    error_type, error = _trouble(member)
    name_id = photo_id(uri, member.path, occurrence)
    return {
        "photo_id": name_id,
        "source": uri,
        "archive_name": name,
        "archive_format": format,
        "member": f"{member.path[:200]}...{name_id}" if error_type == "name_too_long" else member.path,
        "occurrence": occurrence,
        "kind": {"closed": "directory", "missing": "file"}.get(member.kind, member.kind),
        "bytes": member.bytes,
        "offset": member.offset,
        "stored_bytes": member.stored_bytes,
        "compression": member.compression,
        "crc32": member.crc32,
        "member_version": member.version,
        "checksum": member.checksum,
        "error_type": error_type,
        "error": error,
    }


def _trouble(member: Member) -> tuple[str | None, str | None]:
    """Why a member cannot become a photo, whatever it holds: error_type and words."""
    if len(member.path) > LONGEST_NAME:
        return "name_too_long", f"a name of {len(member.path)} characters, over the limit of {LONGEST_NAME}"
    if member.kind == "closed":
        return "folder_unreadable", f"{printable(member.path)}: the folder may not be read; check its permissions"
    if member.kind == "missing":
        return "missing_file", f"{printable(member.path)}: the bag's manifest has it, the bag has not; bring it back"
    return None, None


def _error_row(uri: str, name: str, format: str, error: ArchiveError) -> dict[str, Any]:
    row = _row(uri, name, format, Member("", "archive", 0, 0, 0), 0)
    return row | {"error_type": error.error_type, "error": str(error)}


def _members(source: Source, format: str, output: str, limits: Limits) -> Iterator[Member]:
    if source.only is not None:
        for path, size, version in source.only:
            yield Member(escape_name(path), "file", size, 0, size, version=version or None)
        return
    checksums = Checksums(source.uri, source.bags)
    for member in archives.list_members(source.uri, format, limits, source.code_page):
        if format == "folder" and source.leaves_out(output, member.path):
            continue
        yield replace(member, checksum=checksums.of(unescape_name(member.path))) if source.bags else member
    yield from checksums.missing()


def _indexed_members(source: Source, output: str, broken: Set[str]) -> dict[str, int]:
    """Members of a folder in whole files of the index, with their `_state`: the folder may have grown or changed."""
    if source.kind != "folder":
        return {}
    files = [file for file in parquet_files(output) if Source.digest_in(file) == source.digest and file not in broken]
    found: dict[str, int] = {}
    here = pc.field("source") == source.uri
    for batch in _dataset(output, files).to_batches(["member", "member_version"], filter=here):
        found.update(zip(batch["member"].to_pylist(), map(_state, batch["member_version"].to_pylist()), strict=True))
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
    return IndexSummary(len({Source.digest_in(file) for file in index.files}), members, photos, size, errors)


def _dataset(output: str, files: list[str]) -> ds.Dataset:
    fs, folder = storage.arrow_filesystem(Output(output).index)
    paths = [f"{folder}/{file}" for file in files]
    return ds.dataset(paths, schema=INDEX_SCHEMA, filesystem=fs, format="parquet")
