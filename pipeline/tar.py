"""Members of tar archives, plain and compressed (pax of POSIX.1-2008, GNU, ustar, v7: what tarfile reads)."""

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline import storage
from pipeline.compressed import Stream, cut_short, decompressed
from pipeline.limits import Limits
from pipeline.member import ArchiveError, Member, check_readable, escape_name

# An extended header holds a name, a link's target and attributes of 64 KiB each. Its size is the writer's word: without
# a bound, a header of 8 GiB would be read into memory. The bound is of all headers that belong to one member.
_HEADER_LIMIT = 1 << 20
_GLOBALS = 100  # keywords of global pax headers, which tarfile keeps; Git writes one
_FIRST_REQUEST = 4 << 10  # bytes: a pax header, its records and the header proper are 1.5 KiB
_LAST_REQUEST = 1 << 20
# A gap that takes as long to read (64 KiB at 10 MB/s: 6 ms) as another request would take.
_NEAR = 64 << 10
_SKIP = 1 << 20
_RECORD = re.compile(rb"(\d{1,7}) ")  # how a pax record begins: its length


class _Source(Protocol):
    """What headers are read from. `read` gives fewer bytes only at the end of the archive."""

    def read(self, size: int) -> bytes: ...
    def tell(self) -> int: ...
    def seek(self, position: int) -> int: ...


class _Ranges:
    """A plain tar read by ranged requests: 4 KiB per header, more at a time while headers follow closely."""

    def __init__(self, uri: str) -> None:
        self._uri, self._size = uri, storage.describe(uri)[1]
        self._position = self._begin = 0
        self._block = _FIRST_REQUEST
        self._window = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, size: int) -> bytes:
        start = self._position
        size = max(0, min(size, self._size - start))
        if not self._begin <= start <= start + size <= self._begin + len(self._window):
            self._request(start, size)
        data = self._window[start - self._begin : start - self._begin + size]
        self._position += len(data)
        return data

    def _request(self, start: int, size: int) -> None:
        near = 0 <= start - (self._begin + len(self._window)) <= _NEAR
        self._block = min(2 * self._block, _LAST_REQUEST) if near else _FIRST_REQUEST
        end = min(start + max(size, self._block), self._size)
        self._begin, self._window = start, storage.read_bytes(self._uri, start, end) if start < end else b""


class _Headers(io.RawIOBase):
    """What tarfile gets to see: the headers of one member at a time, within bounds and with whole pax records."""

    def __init__(self, uri: str, source: _Source) -> None:
        self._uri, self._source = uri, source
        self._left = _HEADER_LIMIT
        self._extends = b""  # the type of the extended header whose content comes next

    def next_member(self, position: int) -> None:
        self._left, self._extends = _HEADER_LIMIT, b""
        self._source.seek(position)

    def tell(self) -> int:
        return self._source.tell()

    def read(self, size: int = -1) -> bytes:
        self._left -= size
        if size < 0 or self._left < 0:
            raise ArchiveError(f"{self._uri}: headers of more than {_HEADER_LIMIT} bytes; the archive is damaged")
        data = self._source.read(size)
        if self._extends:
            if self._extends in b"xgX":
                _check_records(self._uri, data)
            self._extends = b""
        elif len(data) == 512 and data[156:157] in b"xgXLK":
            self._extends = data[156:157]
        return data


def _check_records(uri: str, data: bytes) -> None:
    """Raise ArchiveError unless the records of a pax header follow each other and have keywords (pax format, POSIX.1).

    tarfile before 3.11.10 takes time and memory that grow with the square of records whose lengths lie, and of runs of
    digits (CVE-2024-6232). No name has 256 digits in a row.
    """
    at = 0
    while at < len(data) and data[at]:  # zeros fill the block
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if not match or not match.end() < data.find(b"=", match.end(), end) or data[end - 1 : end] != b"\n":
            raise ArchiveError(f"{uri}: damaged pax header; fetch the archive again")
        at = end
    if re.search(rb"\d{256}", data):
        raise ArchiveError(f"{uri}: a pax header with a number of 256 digits; the archive is damaged")


def list_members(uri: str, format: str, limits: Limits) -> Iterator[Member]:
    """Members from their headers alone; raises ArchiveError where the rest cannot be read."""
    if format == "tar":
        yield from _members(uri, _Ranges(uri))
    else:
        with decompressed(uri, format, limits) as stream:
            yield from _members(uri, stream)


def read_member(uri: str, member: Member) -> bytes:
    """A member of a plain tar, in one ranged request."""
    data = storage.read_bytes(uri, member.offset, member.offset + member.bytes) if member.bytes else b""
    if len(data) != member.bytes:
        raise cut_short(uri, member.offset + len(data))
    return data


def read_stream(
    uri: str, format: str, members: Sequence[Member], limits: Limits
) -> Iterator[tuple[Member, bytes | ArchiveError]]:
    """Members of a compressed tar in one pass. Where the stream breaks, all members behind are lost."""
    broken: ArchiveError | None = None
    with decompressed(uri, format, limits) as stream:
        for member in sorted(members, key=lambda member: member.offset):
            try:
                check_readable(uri, member, limits)
            except ArchiveError as error:
                yield member, error
                continue
            try:
                data = b"" if broken else _take_member(uri, stream, member)
            except ArchiveError as error:
                broken = error
            yield member, broken or data


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header, by its checksum (v7 tars have no magic)."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _take_member(uri: str, stream: Stream, member: Member) -> bytes:
    stream.seek(member.offset)
    data = stream.read(member.bytes)
    if len(data) != member.bytes:
        raise cut_short(uri, stream.tell())
    return data


def _members(uri: str, source: _Source) -> Iterator[Member]:
    for info in _infos(uri, source):
        if not 0 <= info.size < 1 << 63:
            raise ArchiveError(f"{uri}: {_shown(info.name)} claims {_shown(info.size)} bytes; the archive is damaged")
        kind = _kind(info)
        size = info.size if kind == "file" else 0
        compression = "none" if info.sparse is None else "sparse"
        yield Member(escape_name(info.name), kind, size, info.offset_data, size, compression)


def _infos(uri: str, source: _Source) -> Iterator[tarfile.TarInfo]:
    """tarfile's parsing without its loop, which takes a damaged header for the end of the archive."""
    headers = _Headers(uri, source)
    try:
        # Reads the first header. Names that are not UTF-8 come out with surrogates.
        tar = tarfile.TarFile(fileobj=headers, encoding="utf-8", errors="surrogateescape")
        info = tar.firstmember  # type: ignore[attr-defined]
        while info is not None:
            yield info
            if tar.offset <= info.offset:  # a negative size; tarfile before 3.11.14 goes round for ever
                raise ArchiveError(f"{uri}: the header at byte {info.offset} leads back; fetch it again")
            if len(tar.pax_headers) > _GLOBALS:
                raise ArchiveError(f"{uri}: more than {_GLOBALS} keywords for all members; the archive is damaged")
            headers.next_member(tar.offset)
            info = tarfile.TarInfo.fromtarfile(tar)
        _check_end(uri, source)  # the mark stood where the first header would
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        _check_end(uri, source)
    except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
        raise cut_short(uri, source.tell()) from error
    except (tarfile.TarError, ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ArchiveError(f"{uri}: damaged header before byte {source.tell()}: {_shown(error)}") from error


def _check_end(uri: str, source: _Source) -> None:
    """Raise ArchiveError unless zeros alone follow the mark, of which tarfile has seen the first block of two.

    A header overwritten with zeros looks like the mark, and so does the end of the first of two joined tars. Reading
    a compressed stream to its end also checks its checksum.
    """
    while block := source.read(_SKIP):
        if block.count(0) != len(block):
            words = f"data after the end-of-archive mark, before byte {source.tell()}"
            raise ArchiveError(f"{uri}: {words}; repack or repair it")


def _kind(info: tarfile.TarInfo) -> str:
    """A type that tarfile does not know is a file, as POSIX has it; GNU's own ones hold no photo."""
    if info.isdir():
        return "directory"
    if info.issym() or info.islnk():
        return "link"
    return "device" if info.isdev() else "file"


def _shown(what: object) -> str:
    """A name, number or message from the archive, short enough for a sentence."""
    words = ascii(what)
    return words if len(words) <= 100 else f"{words[:97]}..."
