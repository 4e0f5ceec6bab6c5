"""Members of tar archives, plain and compressed (pax of POSIX.1-2008, GNU, ustar, v7: what tarfile reads)."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

import pyarrow as pa

from pipeline import storage
from pipeline.member import ArchiveError, Member, check_readable, escape_name
from pipeline.storage_error import one_line, storage_errors

# An extended header holds a name, a link's target and attributes. Its size is the writer's word: without a
# bound, a header of 8 GiB would be read into memory.
_HEADER_LIMIT = 16 << 20
_FIRST_REQUEST = 4 << 10  # bytes: a pax header, its records and the header proper are 1.5 KiB
_LAST_REQUEST = 1 << 20
# A gap that takes as long to read (64 KiB at 10 MB/s: 6 ms) as another request would take.
_NEAR = 64 << 10
_SKIP = 1 << 20

COMPRESSIONS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "tar.gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),  # type: ignore[dict-item,return-value]
    "tar.bz2": bz2.BZ2File,
    "tar.xz": lzma.LZMAFile,
    "tar.zst": lambda file: pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"),
}


class _HeaderSource(Protocol):
    """What the header loop moves over. `read` gives fewer bytes only at the end of the archive."""

    def read(self, size: int) -> bytes: ...
    def tell(self) -> int: ...
    def seek(self, position: int) -> int: ...


class _Ranges(io.RawIOBase):
    """A plain tar read by ranged requests: 4 KiB per header, more at a time while headers follow closely."""

    def __init__(self, uri: str) -> None:
        self._uri, self._size = uri, storage.describe(uri)[1]
        self._position = self._begin = 0
        self._block = _FIRST_REQUEST
        self._window = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        _check_header(self._uri, size)
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


class _Stream(io.RawIOBase):
    """A compressed tar read once, forward only. Positions count decompressed bytes."""

    def __init__(self, uri: str, file: IO[bytes]) -> None:
        self._uri, self._file, self._position = uri, file, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if position < self._position:
            raise ArchiveError(f"{self._uri}: members overlap; make the archive again")
        while self._position < position and self.take(min(_SKIP, position - self._position)):
            pass
        return self._position

    def read(self, size: int = -1) -> bytes:
        _check_header(self._uri, size)
        return self.take(size)

    def take(self, size: int) -> bytes:
        """The next bytes, fewer at the end. Raises ArchiveError where they cannot be decompressed."""
        try:
            data = self._file.read(size)
        except EOFError as error:
            raise _cut_short(self._uri, self._position) from error
        except (OSError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            words = f"damaged after {self._position} decompressed bytes ({one_line(error)})"
            raise ArchiveError(f"{self._uri}: {words}; fetch the archive again") from error
        self._position += len(data)
        return data


class _Guarded(io.RawIOBase):
    """A file whose read errors are StorageErrors, so that they are not taken for damage in the archive."""

    def __init__(self, uri: str, file: IO[bytes]) -> None:
        self._uri, self._file = uri, file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with storage_errors(self._uri):
            return self._file.read(size)


@contextmanager
def decompressed(uri: str, format: str) -> Iterator[_Stream]:
    """The decompressed stream of a compressed tar, which is opened once."""
    with storage.open_stream(uri) as file:
        yield _Stream(uri, COMPRESSIONS[format](_Guarded(uri, file)))  # type: ignore[arg-type]


def list_members(uri: str, format: str) -> Iterator[Member]:
    """Members from their headers alone; raises ArchiveError where the rest cannot be read."""
    if format == "tar":
        yield from _members(uri, _Ranges(uri))
    else:
        with decompressed(uri, format) as stream:
            yield from _members(uri, stream)


def read_member(uri: str, member: Member) -> bytes:
    """A member of a plain tar, in one ranged request."""
    check_readable(uri, member)
    data = storage.read_bytes(uri, member.offset, member.offset + member.bytes) if member.bytes else b""
    if len(data) != member.bytes:
        raise _cut_short(uri, member.offset + len(data))
    return data


def read_stream(uri: str, format: str, members: Sequence[Member]) -> Iterator[tuple[Member, bytes | ArchiveError]]:
    """Members of a compressed tar in one pass. Where the stream breaks, all members behind are lost."""
    broken: ArchiveError | None = None
    with decompressed(uri, format) as stream:
        for member in sorted(members, key=lambda member: member.offset):
            outcome = broken or _take_member(uri, stream, member)
            if isinstance(outcome, ArchiveError) and outcome.error_type.startswith("archive_"):
                broken = outcome
            yield member, outcome


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header, by its checksum (v7 tars have no magic)."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _take_member(uri: str, stream: _Stream, member: Member) -> bytes | ArchiveError:
    try:
        check_readable(uri, member)
        stream.seek(member.offset)
        data = stream.take(member.bytes)
        if len(data) != member.bytes:
            raise _cut_short(uri, stream.tell())
        return data
    except ArchiveError as error:
        return error


def _members(uri: str, source: _HeaderSource) -> Iterator[Member]:
    for info in _headers(uri, source):
        if not 0 <= info.size < 1 << 63:
            raise ArchiveError(f"{uri}: {info.name!a} claims {info.size} bytes; the archive is damaged")
        size = info.size if info.isreg() else 0
        compression = "none" if info.sparse is None else "sparse"
        yield Member(escape_name(info.name), _kind(info), size, info.offset_data, size, compression)


def _headers(uri: str, source: _HeaderSource) -> Iterator[tarfile.TarInfo]:
    """tarfile's parsing without its loop, which takes a damaged header for the end of the archive."""
    try:
        # Reads the first header. Names that are not UTF-8 come out with surrogates.
        tar = tarfile.TarFile(fileobj=source, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
        info = tar.firstmember  # type: ignore[attr-defined]
        while info is not None:
            yield info
            if tar.offset <= info.offset:  # a negative size; tarfile before 3.11.14 goes round for ever
                raise ArchiveError(f"{uri}: the header at byte {info.offset} leads back; fetch it again")
            source.seek(tar.offset)
            info = tarfile.TarInfo.fromtarfile(tar)
        _check_end(uri, source)  # the mark stood where the first header would
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        _check_end(uri, source)
    except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
        raise _cut_short(uri, source.tell()) from error
    except (tarfile.TarError, ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ArchiveError(f"{uri}: damaged header before byte {source.tell()}: {error}") from error


def _check_end(uri: str, source: _HeaderSource) -> None:
    """Raise ArchiveError unless zeros alone follow the mark, of which tarfile has seen the first block of two.

    A header overwritten with zeros looks like the mark, and so does the end of the first of two joined tars. Reading
    a compressed stream to its end also checks its checksum.
    """
    while block := source.read(_SKIP):
        if block.count(0) != len(block):
            words = f"data after the end-of-archive mark, before byte {source.tell()}"
            raise ArchiveError(f"{uri}: {words}; repack or repair it")


def _kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "directory"
    if info.issym() or info.islnk():
        return "link"
    return "device" if info.isdev() else "file"


def _check_header(uri: str, size: int) -> None:
    if not 0 <= size <= _HEADER_LIMIT:
        raise ArchiveError(f"{uri}: a header claims {size} bytes; the archive is damaged")


def _cut_short(uri: str, position: int) -> ArchiveError:
    words = f"{uri}: ends at byte {position} without the end-of-archive mark: cut short; fetch it again"
    return ArchiveError(words, "archive_truncated")
