"""Ranged reads from a web server (RFC 9110, section 14), which may answer with other bytes than the requested ones."""

from __future__ import annotations

import re

from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from pipeline.storage.addresses import public
from pipeline.storage.errors import StorageError

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BEHIND_THE_END = re.compile(r"bytes \*/(\d+)")
_COPY = "copy it to a disk or a bucket"


def read_range(fs: AbstractFileSystem, path: str, start: int, end: int | None) -> bytes:
    """Bytes start to end of a file; fewer if it ends before. Raises StorageError if the answer is of another range.

    fsspec's own read takes the body of any answer, however long, for the requested bytes.
    """
    data: bytes = sync(fs.loop, _read, fs, path, start, end)
    return data


async def _read(fs: AbstractFileSystem, path: str, start: int, end: int | None) -> bytes:
    session = await fs.set_session()
    wanted = {"Range": f"bytes={start}-{'' if end is None else end - 1}", "Accept-Encoding": "identity"}
    options = fs.kwargs | {"headers": fs.kwargs.get("headers", {}) | wanted}
    async with session.get(fs.encode_url(path), **options) as answer:
        given = answer.headers.get("Content-Range", "")
        if answer.status == 404:
            raise FileNotFoundError(path)
        if answer.status == 416 and (size := _BEHIND_THE_END.fullmatch(given)) and int(size[1]) <= start:
            return b""
        answer.raise_for_status()
        most = _announced(path, start, end, given) if answer.status == 206 else end
        if answer.status != 206 and start:
            raise whole_files(path)
        data = bytearray()
        async for piece in answer.content.iter_any():
            data += piece
            if most is not None and len(data) > most:
                announced = answer.status == 206
                raise _not_the_range(path, "more bytes than it announced") if announced else whole_files(path)
        return bytes(data)


def _announced(path: str, start: int, end: int | None, given: str) -> int:
    """The bytes in an answer with this Content-Range; StorageError unless they begin at `start` and end by `end`."""
    found = _RANGE.fullmatch(given)
    if found is None:
        raise _not_the_range(path, "a part without its place (Content-Range)")
    first, last = int(found[1]), int(found[2])
    if first != start or last < first or (end is not None and last >= end):
        asked = f"{start}-{'' if end is None else end - 1}"
        raise _not_the_range(path, f"bytes {first}-{last} where {asked} were requested")
    return last - first + 1


def whole_files(path: str) -> StorageError:
    """The error for a server that answers with more than the requested bytes."""
    return StorageError(f"{public(path)}: the server sends whole files only, no parts; {_COPY}")


def _not_the_range(path: str, what: str) -> StorageError:
    return StorageError(f"{public(path)}: the server sent {what}; {_COPY}")
