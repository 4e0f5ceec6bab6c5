"""Members of tar archives, plain and compressed."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from pipeline import storage
from pipeline.archives import tar_ranges
from pipeline.archives.compressed import Stream, cut_short, decompressed
from pipeline.archives.member import ArchiveError, Member, check_readable
from pipeline.archives.tar_headers import Walk
from pipeline.archives.tar_links import resolved
from pipeline.config.limits import Limits


def list_members(uri: str, format: str, limits: Limits) -> Iterator[Member]:
    """Members from their headers alone; raises ArchiveError if the rest cannot be read."""
    yield from resolved(_with_links(uri, format, limits))


def _with_links(uri: str, format: str, limits: Limits) -> Iterator[Member]:
    if format == "tar":
        yield from tar_ranges.list_members(uri)
    else:
        with decompressed(uri, format, limits) as stream:
            walk = Walk(uri, stream)
            for _, member in walk.until(math.inf):
                yield member
            walk.check_end()


def read_member(uri: str, member: Member) -> bytes:
    """A member of a plain tar, in one ranged request."""
    data = storage.read_bytes(uri, member.offset, member.offset + member.bytes) if member.bytes else b""
    if len(data) != member.bytes:
        raise cut_short(uri, member.offset + len(data))
    return data


def read_stream(
    uri: str, format: str, members: Sequence[Member], limits: Limits
) -> Iterator[tuple[Member, bytes | ArchiveError]]:
    """Members of a compressed tar in one pass. Damage in the stream loses all members after it.

    Hard links have the bytes of their target, which pass once.
    """
    broken: ArchiveError | None = None
    with decompressed(uri, format, limits) as stream:
        for _, same in groupby(sorted(members, key=_place), key=_place):
            data: bytes | None = None
            for member in same:
                try:
                    check_readable(uri, member, limits)
                except ArchiveError as error:
                    yield member, error
                    continue
                try:
                    data = _take_member(uri, stream, member) if data is None and not broken else data
                except ArchiveError as error:
                    broken = error.with_traceback(None)  # which would keep what was unpacked so far
                yield member, broken or data or b""


def _place(member: Member) -> tuple[int, int]:
    return member.offset, member.bytes


def _take_member(uri: str, stream: Stream, member: Member) -> bytes:
    stream.seek(member.offset)
    data = stream.read(member.bytes)
    if len(data) != member.bytes:
        raise cut_short(uri, stream.tell())
    return data
