"""Compressed tars as streams of decompressed bytes, read once, forward, and protected against bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from interlcm.errors import one_line
from pipeline import storage
from pipeline.archives.member import ArchiveError
from pipeline.config.limits import RATIO_COUNTS_FROM, Limits
from pipeline.storage.errors import storage_errors

BLOCK = 4 << 20
_SKIP = 1 << 20
_XZ_BLOCK = 64 << 10
# xz -9 keeps 64 MiB of unpacked data, but a header may ask for 4 GiB. Zstandard's library limits itself to 128 MiB.
_XZ_MEMORY = 256 << 20


class _Xz(io.RawIOBase):
    """Decompressed xz, of one stream or several. lzma.LZMAFile cannot limit its memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        while True:
            packed = b""
            if self._stream.eof:
                if not (packed := self._next_stream()):
                    return 0
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
            elif self._stream.needs_input and not (packed := self._file.read(_XZ_BLOCK)):
                raise EOFError("ends inside an xz stream")
            if data := self._stream.decompress(packed, len(target)):
                target[: len(data)] = data
                return len(data)

    def _next_stream(self) -> bytes:
        """The first bytes of the next stream. Zeros may separate two streams (file format 1.2, 2.2)."""
        rest = self._stream.unused_data.lstrip(b"\0")
        while not rest and (block := self._file.read(_XZ_BLOCK)):
            rest = block.lstrip(b"\0")
        return rest


COMPRESSIONS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "tar.gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),  # type: ignore[dict-item,return-value]
    "tar.bz2": bz2.BZ2File,
    "tar.xz": lambda file: io.BufferedReader(_Xz(file), _XZ_BLOCK),
    "tar.zst": lambda file: pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"),
}


class _Packed(io.RawIOBase):
    """The compressed file. Its read errors are StorageErrors, so they do not look like damage in the archive."""

    def __init__(self, uri: str, file: IO[bytes]) -> None:
        self._uri, self._file = uri, file
        self.taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with storage_errors(self._uri):
            data = self._file.read(size)
        self.taken += len(data)
        return data


class Stream:
    """A compressed tar. Positions count decompressed bytes."""

    def __init__(self, uri: str, format: str, file: IO[bytes], limits: Limits) -> None:
        self._uri, self._position, self._ratio = uri, 0, limits.ratio
        self._packed = _Packed(uri, file)
        self._file = COMPRESSIONS[format](self._packed)  # type: ignore[arg-type]

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise ArchiveError(f"{self._uri}: members overlap; make the archive again")
        while self._position < position and self.read(min(_SKIP, position - self._position)):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end. Raises ArchiveError if they cannot, or must not, be decompressed."""
        parts = []
        while size > 0 and (data := self._read(min(size, _SKIP))):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except EOFError as error:
            raise cut_short(self._uri, self._position) from error
        except (OSError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            words = f"damaged after {self._position} decompressed bytes ({one_line(error)})"
            raise ArchiveError(f"{self._uri}: {words}; fetch the archive again") from error
        self._position += len(data)
        if self._position > max(RATIO_COUNTS_FROM, self._ratio * self._packed.taken):
            words = f"{self._packed.taken} bytes unpack to more than {self._ratio} times as many"
            raise ArchiveError(f"{self._uri}: {words}; if it is not a bomb, raise the limit", "too_compressed")
        return data


@contextmanager
def decompressed(uri: str, format: str, limits: Limits, block: int = BLOCK) -> Iterator[Stream]:
    """The decompressed stream of a compressed tar, which is opened once and read `block` bytes at a time."""
    with storage.open_stream(uri, block) as file:
        yield Stream(uri, format, file, limits)


def cut_short(uri: str, position: int) -> ArchiveError:
    words = f"{uri}: ends at byte {position} without the end-of-archive mark: cut short; fetch it again"
    return ArchiveError(words, "archive_truncated")
