"""The index rows of one source: what its listing finds, and what has changed since the last one."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from interlcm.errors import printable
from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.names import LONGEST_NAME, escape_name, folded_path, unescape_name
from pipeline.config.limits import Limits
from pipeline.index.bags import Checksums
from pipeline.index.changed import Changed
from pipeline.index.removed import Removed
from pipeline.index.schema import photo_id
from pipeline.index.sources import Source

UNKNOWN = -1  # see `state_of`


@dataclass
class Listing:
    """What a listing of one source found besides its rows.

    changed: files of a folder that changed since they were indexed. gone: (source, member) of those that are not there
    any more. partial: whether some of the folder could not be read, so that nothing is known of what is gone.
    guessed: a member's path in a guessed code page, and the number of such members. written: whether it has an index
    file of its own now.
    """

    changed: list[Changed] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    partial: bool = False
    guessed: tuple[str, int] = ("", 0)
    written: bool = False


def rows_of(
    source: Source,
    name: str,
    output: str,
    indexed: dict[str, int],
    limits: Limits,
    listing: Listing,
    gone: Removed,
) -> Iterator[dict[str, Any]]:
    """Rows of an archive, then one with an empty member if the archive, or its rest, cannot be read.

    indexed: the members that have a row already, each with its `state_of`; those that are not found stay in it. Those
    in another state now are noted in `listing`.
    """
    seen = Counter(map(_place_id, indexed))
    version = None
    format = "folder" if source.kind == "folder" else ""
    try:
        version = None if format else storage.version(source.uri)
        format = format or archives.archive_format(source.uri) or ""
        for member in _members(source, format, output, limits):
            listing.partial |= member.kind == "closed"
            if member.guessed:
                listing.guessed = (member.path, listing.guessed[1] + 1)
            state = indexed.pop(member.path, None)
            if state is not None:
                if member.version and state not in (UNKNOWN, state_of(member.version)):
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


def state_of(version: str | None) -> int:
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
