"""Headers of a tar, member by member (pax of POSIX.1-2008, GNU, ustar, v7: what tarfile reads)."""

import io
import re
import tarfile
from collections.abc import Iterator
from typing import Protocol

from pipeline.archives.compressed import cut_short
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.names import escape_name

# An extended header holds a name, a link's target and attributes of 64 KiB each. The writer states its size: without
# a limit, a header of 8 GiB would be read into memory. The limit holds for all headers of one member together.
_HEADER_LIMIT = 1 << 20
_GLOBALS = 100  # keywords of global pax headers, which tarfile keeps in memory; Git writes one
_SKIP = 1 << 20
# GNU tar's own types: the label of a volume, a folder with the list of its files, the rest of a file that another
# volume begins.
_LABEL, _LISTED_FOLDER, _CONTINUED = b"V", b"D", b"M"
_RECORD = re.compile(rb"(\d{1,7}) ")  # how a pax record begins: its length


class Source(Protocol):
    """An archive to read headers from. `read` gives fewer bytes only at its end."""

    def read(self, size: int) -> bytes: ...
    def tell(self) -> int: ...
    def seek(self, position: int) -> int: ...


class Walk:
    """The members of a tar from one of them on. Uses tarfile's parsing without its loop, which takes a damaged header
    for the end of the archive.

    Attributes:
        position: byte where the headers of the next member begin.
        ended: whether the end-of-archive mark was met.
    """

    def __init__(self, uri: str, source: Source, position: int = 0) -> None:
        self.position, self.ended = position, False
        self._uri, self._source = uri, source
        self._headers = _Headers(uri, source)
        self._tar: tarfile.TarFile | None = None

    @property
    def has_globals(self) -> bool:
        """Whether a pax header was met that applies to all members after it."""
        return self._tar is not None and bool(self._tar.pax_headers)

    def until(self, end: float) -> Iterator[tuple[int, Member]]:
        """Members whose headers begin before byte `end`, each with that byte.

        Raises ArchiveError if the rest cannot be read; `position` is then the start of the damage.
        """
        while not self.ended and self.position < end:
            begin = self.position
            info = self._next_info()
            if info is None:
                self.ended = True
                return
            assert self._tar is not None
            found = self._member(info)
            if self._tar.offset <= info.offset:  # a negative size; tarfile before 3.11.14 loops for ever
                raise ArchiveError(f"{self._uri}: the header at byte {info.offset} points backwards; fetch it again")
            if len(self._tar.pax_headers) > _GLOBALS:
                raise ArchiveError(
                    f"{self._uri}: more than {_GLOBALS} keywords for all members; the archive is damaged"
                )
            self.position = self._tar.offset
            if info.type != _LABEL:
                yield begin, found

    def _next_info(self) -> tarfile.TarInfo | None:
        try:
            self._headers.next_member(self.position)
            if self._tar is not None:
                return tarfile.TarInfo.fromtarfile(self._tar)
            # Reads the first header. Names that are not UTF-8 come out with surrogates.
            self._tar = tarfile.TarFile(fileobj=self._headers, encoding="utf-8", errors="surrogateescape")
            return self._tar.firstmember  # type: ignore[attr-defined]
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise cut_short(self._uri, self._source.tell()) from error
        except (tarfile.TarError, ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
            where = f"damaged header before byte {self._source.tell()}"
            raise ArchiveError(f"{self._uri}: {where}: {_shown(error)}") from error

    def _member(self, info: tarfile.TarInfo) -> Member:
        if not 0 <= info.size < 1 << 63:
            words = f"{_shown(info.name)} claims {_shown(info.size)} bytes; the archive is damaged"
            raise ArchiveError(f"{self._uri}: {words}")
        kind = _kind(info)
        size = info.size if kind == "file" else 0
        compression = "volume" if info.type == _CONTINUED else "none" if info.sparse is None else "sparse"
        target = escape_name(info.linkname) if info.islnk() else None
        return Member(escape_name(info.name), kind, size, info.offset_data, size, compression, target=target)

    def check_end(self) -> None:
        """Raise ArchiveError unless only zeros follow. The mark has two blocks of them; tarfile has read the first.

        A header overwritten with zeros looks like the mark, and so does the end of the first of two joined tars.
        Reading a compressed stream to its end also checks its checksum.
        """
        while block := self._source.read(_SKIP):
            if block.count(0) != len(block):
                words = f"data after the end-of-archive mark, before byte {self._source.tell()}"
                raise ArchiveError(f"{self._uri}: {words}; repack or repair it")


def is_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header, by its checksum (v7 tars have no magic)."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


class _Headers(io.RawIOBase):
    """The file that tarfile reads: the headers of one member at a time, within limits and with whole pax records."""

    def __init__(self, uri: str, source: Source) -> None:
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

    In tarfile before 3.11.10, time and memory grow with the square of the number of records with false lengths, and of
    the length of runs of digits (CVE-2024-6232). No name has 256 digits in a row.
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


def _kind(info: tarfile.TarInfo) -> str:
    """A type that tarfile does not know is a file, as POSIX demands."""
    if info.isdir() or info.type == _LISTED_FOLDER:
        return "directory"
    if info.issym() or info.islnk():
        return "link"
    return "device" if info.isdev() else "file"


def _shown(what: object) -> str:
    """A name, number or message from the archive, short enough for a sentence."""
    words = ascii(what)
    return words if len(words) <= 100 else f"{words[:97]}..."
