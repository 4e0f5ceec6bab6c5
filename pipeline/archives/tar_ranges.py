"""The members of a plain tar by ranged requests, for several parts of it at a time.

Each header leads to the next, so listing a tar over a network takes one request after the other: 50 members a second
at 20 ms. To be faster, parts of the tar are walked ahead, each from the first block that looks like a header. The main
walk uses the list of a part from the first of its headers that it reaches itself. If it reaches none (the block was a
member's content: a tar in a tar), it walks the part again. The result is therefore always that of one walk from
beginning to end.
"""

import contextlib
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from pipeline import storage
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.tar_headers import Walk, is_header

_FIRST_REQUEST = 4 << 10  # bytes: a pax header, its records and the header proper are 1.5 KiB
_LAST_REQUEST = 1 << 20
# A gap that takes about as long to read (64 KiB at 10 MB/s: 6 ms) as a further request.
_NEAR = 64 << 10
_AT_ONCE = 16  # parts, each in a thread with one request in progress
_PARTS = 64  # of a tar, within these limits of their size:
_SMALLEST, _LARGEST = 64 << 20, 1 << 30  # bytes
_SEARCHED = 32 << 20  # bytes of a part in which a header is searched for
_SEARCH_REQUEST = 1 << 20
_MOST = 10_000  # members walked ahead in one part: a few MB. Headers of members so small come in large requests


class Ranges:
    """A plain tar by ranged requests: 4 KiB per header, more at a time while headers are close together."""

    def __init__(self, uri: str, size: int) -> None:
        self._uri, self._size = uri, size
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


@dataclass
class _Part:
    """The result of a walk ahead: members, where their headers begin, and where the walk ended."""

    members: list[Member] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    position: int = 0
    has_globals: bool = False


def list_members(uri: str, smallest: int = _SMALLEST) -> Iterator[Member]:
    """Members in their order; raises ArchiveError if the rest cannot be read.

    Args:
        smallest: bytes; a tar of less than two such parts is walked in one.
    """
    size = storage.describe(uri)[1]
    step = max(smallest, min(_LARGEST, size // _PARTS))
    walk = Walk(uri, Ranges(uri, size))
    with contextlib.ExitStack() as stack:
        ahead: deque[tuple[int, Future[_Part]]] = deque()
        ends = iter(range(2 * step, size + step, step) if size >= 2 * step else ())
        pool = ThreadPoolExecutor(_AT_ONCE)
        stack.callback(pool.shutdown, cancel_futures=True)

        def more(count: int) -> None:
            for end in islice(ends, count):
                ahead.append((end, pool.submit(_walk_ahead, uri, size, end - step, end)))

        more(_AT_ONCE)
        if ahead:
            for _, member in walk.until(step):
                yield member
        while ahead and not walk.ended:
            end, future = ahead.popleft()
            more(1)
            if walk.position < end:
                yield from _taken(walk, future.result())
            for _, member in walk.until(end):
                yield member
    for _, member in walk.until(math.inf):  # without parts the whole tar; with parts only its end
        yield member
    walk.check_end()


def _taken(walk: Walk, part: _Part) -> list[Member]:
    """The members of a part from the walk's position, which moves behind them; none if it is no header of the part."""
    if walk.has_globals or part.has_globals or walk.position not in part.positions:
        return []
    first = part.positions.index(walk.position)
    walk.position = part.position
    return part.members[first:]


def _walk_ahead(uri: str, size: int, begin: int, end: int) -> _Part:
    part = _Part()
    # Ignore errors here: the main walk will meet them if they matter.
    with contextlib.suppress(ArchiveError, storage.StorageError):
        first = _first_header(uri, begin, min(end, begin + _SEARCHED))
        if first is not None:
            walk = Walk(uri, Ranges(uri, size), first)
            for position, member in islice(walk.until(end), _MOST):
                part.members.append(member)
                part.positions.append(position)
                part.position, part.has_globals = walk.position, walk.has_globals
    return part


def _first_header(uri: str, begin: int, end: int) -> int | None:
    """Position of the first block that looks like a header; blocks have 512 bytes from the archive's beginning."""
    for start in range(-(-begin // 512) * 512, end, _SEARCH_REQUEST):
        data = storage.read_bytes(uri, start, min(start + _SEARCH_REQUEST, end))
        for at in range(0, len(data) - 511, 512):
            if is_header(data[at : at + 512]):
                return start + at
    return None
