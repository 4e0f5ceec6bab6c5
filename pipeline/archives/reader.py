"""Archives by content: the format of a file, its members, and their bytes.

A folder of loose files is an archive of format "folder".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline import storage
from pipeline.archives import tar, tar_headers, unread, zip_archive
from pipeline.archives.compressed import COMPRESSIONS, decompressed
from pipeline.archives.member import ArchiveError, Member, check_readable, member_of, not_read
from pipeline.archives.names import escape_name, unescape_name
from pipeline.config.limits import DEFAULTS, Limits

__all__ = [
    *("ArchiveError", "Member", "archive_format", "check_unchanged"),
    *("list_members", "named_like_archive", "read_members"),
]

Row = dict[str, Any]  # of the index

_SUFFIXES = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2"),
    *(".tar.xz", ".txz", ".tar.zst", ".tzst", ".zip"),
)
# The first bytes: gzip RFC 1952, bzip2, xz, Zstandard RFC 8878.
_COMPRESSED = {
    "tar.gz": b"\x1f\x8b",
    "tar.bz2": b"BZh",
    "tar.xz": b"\xfd7zXZ\0",
    "tar.zst": b"\x28\xb5\x2f\xfd",
}
_FIRST_BYTES = 64 << 10  # read from a compressed tar to see its first header
# A frame that decoders skip may come first, as pzstd writes it (RFC 8878, 3.1.2).
_SKIPPABLE = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
_ZIP = (b"PK\3\4", b"PK\5\6", b"PK00PK\3\4")  # a member, an empty archive, one volume of one


def named_like_archive(name: str) -> bool:
    """Whether a file name has the suffix of an archive, of one that is not read, too."""
    return name.lower().endswith(_SUFFIXES) or unread.named_like(name) is not None


def is_archive(uri: str) -> bool:
    """Whether a file is an archive, by content or by name; one that cannot be read is one, too."""
    try:
        return archive_format(uri) is not None
    except ArchiveError:
        return True


def archive_format(uri: str) -> str | None:
    """By content: "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst" or "zip". None: the file is not an archive.

    Raises ArchiveError for an archive that is not read, and for a file that is named like an archive but is not one
    (because it is empty, for example).
    """
    block = storage.read_bytes(uri, 0, 512)
    if block.startswith(_ZIP):
        return "zip"
    format = "tar.zst" if block.startswith(_SKIPPABLE) else "tar"
    format = next((name for name, magic in _COMPRESSED.items() if block.startswith(magic)), format)
    first = block if format == "tar" else _first_block(uri, format)
    if tar_headers.is_header(first):
        return format
    if what := _unread(uri, block, first):
        raise not_read(uri, what)
    if named_like_archive(uri):
        if len(first) == 512 and not any(first):
            return format  # an archive of no members: the end-of-archive mark comes first
        raise _not_an_archive(uri, len(block))
    return None


def _unread(uri: str, block: bytes, first: bytes) -> str | None:
    """What the archive is, if it is of a kind that is not read. first: block, or what is compressed in it."""
    if named_like_archive(uri) and len(block) == 512 and not any(block):
        block = storage.read_bytes(uri, 0, unread.FIRST)
    if uri.lower().endswith(".zip") and zip_archive.is_volume(uri):
        return "a volume of a split zip"
    by_content = unread.kind_of(first)
    if not uri.lower().endswith(_SUFFIXES) or first is block:  # else a compressed file that should hold a tar
        by_content = by_content or unread.kind_of(block)
    return by_content or (unread.named_like(uri) if block else None)


def _first_block(uri: str, format: str) -> bytes:
    try:
        with decompressed(uri, format, DEFAULTS, block=_FIRST_BYTES) as stream:
            return stream.read(512)
    except ArchiveError:
        if uri.lower().endswith(_SUFFIXES):
            raise
        return b""  # compressed and damaged, but not named like an archive


def _not_an_archive(uri: str, size: int) -> ArchiveError:
    if size == 0:
        return ArchiveError(f"{uri}: empty (0 bytes), so not an archive; fetch it again", "archive_truncated")
    return ArchiveError(f"{uri}: named like an archive, but neither tar nor zip; fetch it again, or rename it")


def list_members(uri: str, format: str, limits: Limits, code_page: str = "") -> Iterator[Member]:
    """The members of an archive in its own order, from headers alone (a compressed tar is read through).

    Raises ArchiveError, also between members, if the rest cannot or must not be read. Files of a folder that are
    named like archives are not its members. code_page: of names in a zip that does not say theirs.
    """
    for count, member in enumerate(_all_members(uri, format, limits, code_page)):
        if count == limits.members:
            words = f"more than the limit of {count:,} members; split it, or raise --limit members"
            raise ArchiveError(f"{uri}: {words}", "too_many_members")
        yield member


def _all_members(uri: str, format: str, limits: Limits, code_page: str) -> Iterator[Member]:
    if format == "folder":
        for path, kind, size, version in storage.entries(uri):
            if kind != "file" or not named_like_archive(path):
                yield Member(escape_name(path), kind, size, 0, size, version=version or None)
    elif format == "zip":
        yield from zip_archive.list_members(uri, code_page)
    else:
        yield from tar.list_members(uri, format, limits)


def read_members(
    uri: str, format: str, members: Sequence[Member], limits: Limits
) -> Iterator[tuple[Member, bytes | ArchiveError]]:
    """The bytes of each member, once, or why it has none; in archive order for a compressed tar.

    One ranged request per member; a compressed tar is opened once and read to its last wanted member.
    Raises StorageError for a failure that affects more than one member (unreachable server, missing file).
    """
    if format in COMPRESSIONS:
        yield from tar.read_stream(uri, format, members, limits)
        return
    for member in members:
        try:
            check_readable(uri, member, limits)
            yield member, _read_member(uri, format, member, limits)
        except ArchiveError as error:
            yield member, error


def read_rows(rows: Sequence[Row], limits: Limits) -> Iterator[tuple[Row, bytes | ArchiveError]]:
    """The bytes of the members of one archive's index rows, or why there are none; each row once.

    A member of several rows (pages of one file, a forged zip that lists the same bytes twice) is read once. An
    error of the archive ends all remaining rows. Raises StorageError for a failure that would affect every archive.
    """
    source, format = rows[0]["source"], rows[0]["archive_format"]
    by_member: dict[Member, list[Row]] = {}
    for row in rows:
        by_member.setdefault(member_of(row), []).append(row)
    try:
        check_unchanged(source, rows[0].get("source_version"))
        for member, data in read_members(source, format, list(by_member), limits):
            yield from ((row, data) for row in by_member.pop(member))
    except (ArchiveError, storage.StorageError) as error:
        if isinstance(error, storage.StorageError) and error.stops_run:
            raise  # the archive is not to blame
        lost = error if isinstance(error, ArchiveError) else ArchiveError(str(error))
        lost.__cause__ = error if lost is not error else lost.__cause__
        yield from ((row, lost) for left in by_member.values() for row in left)


def check_source(uri: str, format: str, version: str | None) -> None:
    """Check the source itself before a photo is blamed for missing bytes.

    Raises StorageError, which stops the run, if an archive or folder is gone, denies access, or was replaced since it
    was indexed. version: as in the index; None for a folder.
    """
    with source_trouble(uri):
        storage.check_open(uri)
        if (storage.describe(uri)[0] == "folder") != (format == "folder"):
            raise ArchiveError(f"{uri}: no longer {'a folder' if format == 'folder' else 'a file'}")
        check_unchanged(uri, version)


@contextmanager
def source_trouble(uri: str) -> Iterator[None]:
    """Errors in this block concern a whole source: turn them into a StorageError that stops the run."""
    try:
        yield
    except (ArchiveError, storage.StorageError) as error:
        if isinstance(error, storage.StorageError) and error.stops_run:
            raise
        remedy = f"bring the source back; restore can leave it out with --where \"source <> '{uri}'\""
        raise storage.StorageError(f"{error}; nothing was recorded about its photos; {remedy}", "source") from error


def check_unchanged(uri: str, version: str | None) -> None:
    """Raise ArchiveError if an archive changed since it was indexed: its offsets may then be wrong."""
    if version is not None and storage.version(uri) != version:
        words = "changed since it was indexed; the new file needs a new OUTPUT"
        raise ArchiveError(f"{uri}: {words}", "archive_changed")


def _read_member(uri: str, format: str, member: Member, limits: Limits) -> bytes:
    """One member. A failure of this member alone becomes an ArchiveError after a second try; others are raised."""
    try:
        return _read_once(uri, format, member, limits)
    except storage.StorageError as error:
        if _beyond_member(error, format):
            raise
    try:
        return _read_once(uri, format, member, limits)
    except storage.StorageError as error:
        if _beyond_member(error, format):
            raise
        gone = f"{uri}: {member.path}: deleted since it was indexed"
        raise ArchiveError(gone if error.reason == "missing" else str(error), "member_unreadable") from error


def _beyond_member(error: storage.StorageError, format: str) -> bool:
    """Whether a failed read concerns more than this member."""
    return error.stops_run or (format != "folder" and error.reason in ("missing", "denied"))


def _read_once(uri: str, format: str, member: Member, limits: Limits) -> bytes:
    if format == "tar":
        return tar.read_member(uri, member)
    if format == "zip":
        return zip_archive.read_member(uri, member)
    data = storage.read_bytes(storage.below(uri, unescape_name(member.path)), 0, limits.member_bytes + 1)
    if len(data) > limits.member_bytes:  # it grew since it was indexed
        raise ArchiveError(f"{uri}: {member.path}: over the limit of {limits.member_bytes:,} bytes", "too_large")
    return data
