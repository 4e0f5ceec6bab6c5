"""Members of archives, and why one cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interlcm.errors import InterLCMError, printable
from pipeline.archives.names import normal_path
from pipeline.archives.unread import named_like
from pipeline.config.limits import RATIO_COUNTS_FROM, Limits


class ArchiveError(InterLCMError):
    """An archive, the rest of one, or one member cannot be read. The message is one line.

    `error_type`: "archive_unreadable", "archive_truncated" (the file ends too early), "archive_changed" (since it was
    indexed), "member_unreadable", "encrypted", "unsupported_compression",
    "unsupported_archive", and beyond `Limits` "too_large", "too_compressed", "too_many_members", "too_deep".
    """

    def __init__(self, message: str, error_type: str = "archive_unreadable") -> None:
        super().__init__(printable(message))
        self.error_type = error_type


@dataclass(frozen=True)
class Member:
    """One entry of an archive, as its headers describe it. None of it is trusted, least of all the path.

    path: the name in the archive, spelled by `escape_name`
    kind: "file", "directory", "link", "device", or what concerns a folder of files: "closed" (it may not be read) and
        "missing" (a manifest has the file)
    bytes: size when unpacked; stored_bytes: size in the archive
    offset: first byte of the data in a tar (in the decompressed stream if it is compressed), or of the local
        header in a zip; 0 in a folder
    compression: "none", "deflate", or the name of an unsupported method
    crc32: of the data; None if the archive has none (only zips do)
    version: size and digest, or time of last change, of a folder's file; None in an archive
    checksum: that a manifest gives it, such as "sha256:..."; only files of BagIt bags have one
    guessed: whether the code page of the path is a guess (only in zips)
    target: of a hard link in a tar whose bytes were not looked for yet: the path of the member that has them
    """

    path: str
    kind: str
    bytes: int
    offset: int
    stored_bytes: int
    compression: str = "none"
    crc32: int | None = None
    version: str | None = None
    target: str | None = None
    checksum: str | None = None
    guessed: bool = False


def not_read(where: str, what: str) -> ArchiveError:
    """The error for an archive that is not read. where: begins the message; empty for a member, which its row names."""
    remedy = "unpack it, or pack its files again as a zip or a tar"
    if "split zip" in what:
        remedy = "join its volumes: zip -s 0 box.zip --out whole.zip"
    begin = f"{where}: " if where else ""
    return ArchiveError(f"{begin}{what}, an archive that is not read; {remedy}", "unsupported_archive")


# Why the archive lacks the bytes of a file, by its "compression".
_ELSEWHERE = {
    "hard link": "a hard link to a file that is not before it in the archive; pack it again with its target",
    "volume": "the rest of a file that begins in another volume; join the volumes and pack them again",
}


def check_readable(uri: str, member: Member, limits: Limits) -> None:
    """Raise ArchiveError if the headers show that a member cannot be read, or must not be."""
    what = f"{uri}: {member.path}"
    if member.kind != "file":
        raise ArchiveError(f"{what}: a {member.kind}, not a file", "member_unreadable")
    if member.compression == "sparse":
        raise ArchiveError(f"{what}: stored with holes; pack it without --sparse", "unsupported_compression")
    if member.compression in _ELSEWHERE:
        raise ArchiveError(f"{what}: {_ELSEWHERE[member.compression]}", "member_unreadable")
    if member.compression not in ("none", "deflate"):
        words = f"{what}: stored as {member.compression}; pack it with deflate"
        raise ArchiveError(words, "unsupported_compression")
    if normal_path(member.path).count("/") > limits.depth:
        raise ArchiveError(f"{what}: deeper than the limit of {limits.depth} folders", "too_deep")
    if max(member.bytes, member.stored_bytes) > limits.member_bytes:
        if archive := named_like(member.path):
            raise not_read(what, archive)
        raise ArchiveError(f"{what}: {member.bytes:,} bytes, over the limit of {limits.member_bytes:,}", "too_large")
    if member.bytes > max(RATIO_COUNTS_FROM, limits.ratio * member.stored_bytes):
        words = f"{member.stored_bytes:,} bytes unpack to {member.bytes:,}, over the limit of {limits.ratio} times"
        raise ArchiveError(f"{what}: {words}", "too_compressed")


def member_of(row: Mapping[str, Any]) -> Member:
    """The archive member of an index row."""
    path, kind, compression, crc32 = row["member"], row["kind"], row["compression"], row["crc32"]
    return Member(path, kind, row["bytes"], row["offset"], row["stored_bytes"], compression, crc32)
