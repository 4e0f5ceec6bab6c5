"""Members of zip archives, by ranged requests from the central directory (PKWARE APPNOTE 6.3.10).

Python's zipfile is not used: it holds all members in memory, and one bad name makes it reject the archive.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from pipeline import storage
from pipeline.archives import zip_names
from pipeline.archives.member import ArchiveError, Member, not_read
from pipeline.archives.names import escape_name

_LOCAL = struct.Struct("<4s5H3L2H")  # section 4.3.7
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # section 4.3.12
_END = struct.Struct("<4s4H2LH")  # section 4.3.16
_END64 = struct.Struct("<4sQ2H2L4Q")  # section 4.3.14
_LOCATOR64 = struct.Struct("<4sLQL")  # section 4.3.15
_TAIL = 65535 + _END.size + _LOCATOR64.size + _END64.size  # the longest comment and all end records before it
_ENCRYPTED = 1 << 0  # general purpose bit, section 4.4.4
# Section 4.4.5. Only the first two are read; for the others the index has their name.
_METHODS = {0: "none", 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 99: "aes"}
_UNIX = 3  # "version made by" of a writer whose attributes hold a Unix mode
_DOS = (0, 10, 11, 14)  # ... and those of FAT and NTFS, whose folders have the bit _FOLDER
_FOLDER = 1 << 4
_WRAP = 1 << 32  # what writers without zip64 take offsets and sizes modulo
_LONGEST_ENTRY = _CENTRAL.size + 3 * 65535
_DIRECTORY_BLOCK = 1 << 20  # bytes of the central directory asked for at a time
_LOCAL_EXTRA = 128  # bytes; Info-ZIP writes 28 of times and owners, zip64 20. More costs a second request


@dataclass(frozen=True)
class _Directory:
    """The central directory: bytes `start` to `end`. The archive begins `shift` bytes into its file.

    wraps: how often its offsets pass 2^32, with no zip64 record to say so, as macOS writes them.
    """

    start: int
    end: int
    shift: int
    entries: int
    wraps: int = 0


def list_members(uri: str, code_page: str = "") -> Iterator[Member]:
    """Members from the central directory alone; raises ArchiveError if the rest cannot be read.

    code_page: of names that the zip does not say the encoding of; empty: UTF-8 or code page 437.
    """
    directory = _directory(uri)
    count = stored = wrapped = before = 0
    windows: bool | None = None
    for entry in _entries(uri, directory):
        name, guessed = _name(entry, code_page)
        if windows is None and "\\" in name:
            windows = not _has_slash(uri, directory, code_page)
        member = _member(uri, entry, name.replace("\\", "/") if windows else name)
        if member.offset < before and wrapped < directory.wraps:
            wrapped += 1
        before = member.offset
        member = replace(member, offset=directory.shift + wrapped * _WRAP + member.offset, guessed=guessed)
        stored += member.stored_bytes
        if stored > directory.end:
            words = f"from member {count + 1} on, members take more bytes than it has: they overlap (a bomb)"
            raise ArchiveError(f"{uri}: {words}; make the archive again", "too_compressed")
        yield member
        count += 1
    if (count - directory.entries) % 65536:  # without zip64 the number wraps
        raise ArchiveError(f"{uri}: lists {count} members, but its end record says {directory.entries}")


def _has_slash(uri: str, directory: _Directory, code_page: str) -> bool:
    """Whether a name of the archive has a slash. Where none has, backslashes part folders: Windows wrote it."""
    with suppress(ArchiveError):
        return any("/" in _name(entry, code_page)[0] for entry in _entries(uri, directory))
    return False


def read_member(uri: str, member: Member) -> bytes:
    """One member in one ranged request (two if its local header is unusually long), with its CRC-32 checked."""
    try:
        return _read_at(uri, member)
    except ArchiveError as error:
        for offset in _other_places(uri, member, error):
            with suppress(ArchiveError):
                return _read_at(uri, replace(member, offset=offset))
        raise


def _other_places(uri: str, member: Member, error: ArchiveError) -> Iterator[int]:
    """Where a member may be whose offset was written modulo 2^32, in an archive so large."""
    size = storage.describe(uri)[1] if error.error_type == "member_unreadable" else 0
    if size > _WRAP:
        yield from (at for at in range(member.offset % _WRAP, size, _WRAP) if at != member.offset)


def _read_at(uri: str, member: Member) -> bytes:
    guess = _LOCAL.size + len(member.path.encode()) + _LOCAL_EXTRA
    data = memoryview(storage.read_bytes(uri, member.offset, member.offset + guess + member.stored_bytes))
    what = f"{uri}: {member.path}"
    if len(data) < _LOCAL.size or data[:4] != b"PK\3\4":
        raise ArchiveError(f"{what}: no local header at byte {member.offset}", "member_unreadable")
    header = _LOCAL.unpack_from(data)
    if header[2] & _ENCRYPTED:
        raise ArchiveError(f"{what}: encrypted; unpack it with its password first", "encrypted")
    begin = _LOCAL.size + header[9] + header[10]
    end = begin + member.stored_bytes
    if len(data) < end:
        data = memoryview(b"".join([data, storage.read_bytes(uri, member.offset + len(data), member.offset + end)]))
    return _unpacked(what, member, data[begin:end])


def _unpacked(what: str, member: Member, stored: memoryview) -> bytes:
    if len(stored) < member.stored_bytes:
        raise ArchiveError(f"{what}: the archive ends within it; fetch the archive again", "archive_truncated")
    if member.compression == "none":
        data = bytes(stored)
    else:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, member.bytes + 1)
        except zlib.error as error:
            raise ArchiveError(f"{what}: cannot be inflated: {error}", "member_unreadable") from error
    if len(data) != member.bytes or zlib.crc32(data) != member.crc32:
        raise ArchiveError(f"{what}: size or CRC-32 is wrong; the archive is damaged", "member_unreadable")
    return data


def _entries(uri: str, directory: _Directory) -> Iterator[bytes]:
    """The records of the central directory, with one block of it in memory at a time."""
    start, block, at = directory.start, b"", 0
    while start + at < directory.end:
        if len(block) < at + _LONGEST_ENTRY and start + len(block) < directory.end:
            start, at = start + at, 0
            block = storage.read_bytes(uri, start, min(start + _DIRECTORY_BLOCK, directory.end))
        if len(block) < at + _CENTRAL.size or block[at : at + 4] != b"PK\1\2":
            raise ArchiveError(f"{uri}: damaged central directory at byte {start + at}")
        size = _CENTRAL.size + sum(struct.unpack_from("<3H", block, at + 28))  # name, extra field, comment
        if len(block) < at + size:
            raise ArchiveError(f"{uri}: damaged central directory at byte {start + at}")
        yield block[at : at + size]
        at += size


def _name(entry: bytes, code_page: str) -> tuple[str, bool]:
    """The name of an entry, and whether its code page is a guess."""
    flags, (name, extra) = _CENTRAL.unpack_from(entry)[3], struct.unpack_from("<2H", entry, 28)
    end = _CENTRAL.size + name
    return zip_names.decoded(entry[_CENTRAL.size : end], flags, entry[end : end + extra], code_page)


def _member(uri: str, entry: bytes, name: str) -> Member:
    """The member of an entry; its offset is still that in the archive."""
    fields = _CENTRAL.unpack_from(entry)
    made_by, method, crc32 = fields[1], fields[4], fields[7]
    stored, size, attributes, offset = fields[8], fields[9], fields[15], fields[16]
    begin = _CENTRAL.size + fields[10]
    extra = entry[begin : begin + fields[11]]
    size, stored, offset = _zip64(uri, extra, size, stored, offset)
    compression = _METHODS.get(method, f"method {method}")
    kind = _kind(name, made_by, attributes, size)
    return Member(escape_name(name), kind, size, offset, stored, compression, crc32)


def _kind(name: str, made_by: int, attributes: int, size: int) -> str:
    mode = attributes >> 16 if made_by >> 8 == _UNIX else 0
    dos_folder = made_by >> 8 in _DOS and attributes & _FOLDER and not size
    if name.endswith("/") or stat.S_ISDIR(mode) or dos_folder:
        return "directory"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device"


def _zip64(uri: str, extra: bytes, *values: int) -> list[int]:
    """Section 4.5.3: each value that is all ones is replaced by the next 8 bytes of extra field 1."""
    if 0xFFFFFFFF not in values:
        return list(values)
    body = zip_names.field(extra, 1)
    wide = iter(struct.iter_unpack("<Q", body[: len(body) // 8 * 8]))
    found = [next(wide, (1 << 63,))[0] if value == 0xFFFFFFFF else value for value in values]
    if max(found) >= 1 << 63:
        raise ArchiveError(f"{uri}: a member without its zip64 sizes; the archive is damaged")
    return found


def _directory(uri: str) -> _Directory:
    size = storage.describe(uri)[1]
    first = max(0, size - _TAIL)
    tail = storage.read_bytes(uri, first, size)
    at = _end_record(tail)
    if at < 0:
        words = f"{uri}: no end-of-central-directory record: cut short; fetch the archive again"
        raise ArchiveError(words, "archive_truncated")
    _, disk, _, _, entries, length, offset, _ = _END.unpack_from(tail, at)
    locator = tail[at - _LOCATOR64.size : at] if at >= _LOCATOR64.size else b""
    end = first + at
    if wide := locator[:4] == b"PK\6\7":
        end, disk, entries, length, offset = _end_record64(uri, end - _LOCATOR64.size, locator)
    shift = end - length - offset
    if disk:
        raise not_read(uri, "the last volume of a split zip")
    if shift < 0:
        raise ArchiveError(f"{uri}: no central directory at the recorded place; the archive is damaged")
    wraps, shift = (0, shift) if wide else divmod(shift, _WRAP)
    return _Directory(end - length, end, shift, entries, wraps)


def is_volume(uri: str) -> bool:
    """Whether a file ends as the last of several volumes does."""
    size = storage.describe(uri)[1]
    tail = storage.read_bytes(uri, max(0, size - _TAIL), size)
    at = _end_record(tail)
    return at >= 0 and _END.unpack_from(tail, at)[1] not in (0, 0xFFFF)


def _end_record(tail: bytes) -> int:
    """Where the end record begins: the last one whose comment ends the file, or fits into it; -1 if there is none."""
    found = []
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail):
            end = at + _END.size + int(_END.unpack_from(tail, at)[7])
            if end == len(tail):
                return at
            found += [at] if end < len(tail) else []
        at = tail.rfind(b"PK\5\6", 0, at)
    return found[0] if found else -1


def _end_record64(uri: str, locator_at: int, locator: bytes) -> tuple[int, int, int, int, int]:
    """The zip64 end record: just before its locator, or, if it has extra data, where the locator says."""
    for at in (locator_at - _END64.size, _LOCATOR64.unpack(locator)[2]):
        record = storage.read_bytes(uri, at, at + _END64.size) if 0 <= at < locator_at else b""
        if len(record) == _END64.size and record[:4] == b"PK\6\6":
            _, _, _, _, disk, _, _, entries, length, offset = _END64.unpack(record)
            return at, disk, entries, length, offset
    raise ArchiveError(f"{uri}: no zip64 end record at the recorded place; the archive is damaged")
