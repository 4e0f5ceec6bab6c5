"""TIFF directories, of TIFF files (TIFF 6.0, section 2; BigTIFF) and of EXIF blocks, which are small TIFF files.

This module reads and writes descriptive fields, which libvips cannot do. It does not decode pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
FLOAT, DOUBLE, IFD, LONG8, IFD8 = 11, 12, 13, 16, 18
WORDS = {SHORT: "H", LONG: "I", IFD: "I", LONG8: "Q", IFD8: "Q", BYTE: "B"}

ORIENTATION, IPTC, EXIF, GPS, INTEROP = 274, 33723, 34665, 34853, 40965
POINTERS = (EXIF, GPS, INTEROP)  # fields that name another directory
BEYOND = "a directory lies beyond the last byte"


@dataclass(frozen=True)
class Field:
    """kind: number of the TIFF type. value: `count` values, little-endian. inner: the directory that it points to."""

    kind: int
    count: int
    value: bytes
    inner: Fields | None = None

    def numbers(self) -> tuple[int, ...]:
        """The values of a field of whole numbers; none for other types."""
        return struct.unpack(f"<{self.count}{WORDS[self.kind]}", self.value) if self.kind in WORDS else ()


Fields = dict[int, Field]


@dataclass(frozen=True)
class Entry:
    """A directory's entry. `place` is the offset of its values, which may lie beyond the end of the file."""

    tag: int
    kind: int
    count: int
    place: int

    @property
    def size(self) -> int:
        return SIZES[self.kind] * self.count


class Tiff:
    """The directories of a TIFF file or an EXIF block. Raises ValueError for other bytes."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
        version = int.from_bytes(data[2:4], "little" if self.order == "<" else "big")
        if not self.order or version not in (42, 43):
            raise ValueError("not a TIFF")
        self.big = version == 43
        self.head = 8 if self.big else 4  # position of the first directory's offset

    def chain(self, limit: int) -> list[int]:
        """The offsets of the directories, one for each picture, at most `limit`.

        Raises ValueError if one lies beyond the last byte or the chain is a ring.
        """
        found: list[int] = []
        seen: set[int] = set()
        place = self.head
        while (offset := self.offset(place)) and len(found) < limit:
            if offset in seen:
                raise ValueError("its directories form a ring")
            found.append(offset)
            seen.add(offset)
            place = self.following(offset)
        return found

    def following(self, offset: int) -> int:
        """The position of the offset of the next directory."""
        count, start, step = self._count(offset)
        return start + step * count

    def entries(self, offset: int) -> Iterator[Entry]:
        """The entries of known type. Raises ValueError if the directory itself lies beyond the last byte."""
        count, start, step = self._count(offset)
        for place in range(start, start + step * count, step):
            tag, kind = self._unpack("HH", place)
            number = self.offset(place + 4)
            if kind in SIZES:
                values = place + 4 + self._size
                inline = SIZES[kind] * number <= self._size
                yield Entry(tag, kind, number, values if inline else self.offset(values))

    def tags(self, offset: int) -> set[int]:
        """The tags of all entries, also of those that `entries` and `read` leave out."""
        count, start, step = self._count(offset)
        return {self._unpack("H", place)[0] for place in range(start, start + step * count, step)}

    def read(self, offset: int, only: tuple[int, ...] | None = None, depth: int = 2) -> Fields:
        """The fields of a directory, or `only` these tags, without fields whose values lie beyond the last byte.

        Of a tag that occurs twice the first counts, as in libtiff: a second size must not hide the first.
        """
        fields: Fields = {}
        seen: set[int] = set()
        for entry in self.entries(offset):
            if entry.tag in seen:
                continue
            seen.add(entry.tag)
            if (only is None or entry.tag in only) and entry.place + entry.size <= len(self.data):
                raw = bytes(self.data[entry.place : entry.place + entry.size])
                field = Field(entry.kind, entry.count, self._swapped(entry, raw))
                if entry.tag in POINTERS:
                    inner = self._inner(field, depth)
                    if inner:
                        fields[entry.tag] = Field(LONG, 1, b"", inner)
                else:
                    fields[entry.tag] = field
        return fields

    def _inner(self, pointer: Field, depth: int) -> Fields:
        try:
            return self.read(pointer.numbers()[0], depth=depth - 1) if depth else {}
        except (ValueError, IndexError):
            return {}

    def _swapped(self, entry: Entry, raw: bytes) -> bytes:
        # IPTC is bytes that are often declared as LONG: they stay in their order.
        return raw if self.order == "<" or entry.tag == IPTC else swapped(entry.kind, raw)

    @property
    def _size(self) -> int:
        return 8 if self.big else 4

    def offset(self, place: int) -> int:
        """The offset or count stored at `place`."""
        return self._unpack("Q" if self.big else "I", place)[0]

    def _count(self, offset: int) -> tuple[int, int, int]:
        """Number of entries of a directory, where they start, and their size."""
        count = self._unpack("Q" if self.big else "H", offset)[0]
        start = offset + (8 if self.big else 2)
        if start + count * (20 if self.big else 12) > len(self.data):
            raise ValueError(BEYOND)
        return count, start, 20 if self.big else 12

    def _unpack(self, format: str, place: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + format, self.data, place)
        except (struct.error, OverflowError):  # the latter: BigTIFF's offsets may be beyond any memory
            raise ValueError(BEYOND) from None


def swapped(kind: int, raw: bytes) -> bytes:
    """The values in the other byte order."""
    word = SIZES[kind] // 2 if kind in (RATIONAL, SRATIONAL) else SIZES[kind]
    return np.frombuffer(raw, f"u{word}").byteswap().tobytes()


def classic(fields: Fields) -> tuple[Fields, list[int]]:
    """The fields that fit into a TIFF of 32 bits, and the tags of those with larger numbers."""
    kept, lost = {}, []
    for tag, field in fields.items():
        inner, deeper = (None, []) if field.inner is None else classic(field.inner)
        large = field.inner is None and field.kind in (LONG8, IFD8) and max(field.numbers(), default=0) > 0xFFFFFFFF
        lost += [tag] if large else deeper
        if not large and inner != {}:
            kept[tag] = replace(field, inner=inner)
    return kept, lost


def written(fields: Fields, place: int, order: str = "<", big: bool = False) -> bytes:
    """A directory with its values, for `place` of a file, with no directory after it."""
    word = "Q" if big else "I"
    room = struct.calcsize(word)
    values_at = place + (8 if big else 2) + len(fields) * (20 if big else 12) + room
    entries, values = bytearray(), bytearray()
    for tag, field in sorted(fields.items()):
        kind, count, value = field.kind, field.count, field.value
        if field.inner is not None:
            kind, count, value = LONG8 if big else LONG, 1, struct.pack("<" + word, values_at + len(values))
            values += written(field.inner, values_at + len(values), order, big)
        elif kind in (LONG8, IFD8) and not big:
            kind, value = LONG, struct.pack(f"<{count}I", *field.numbers())
        if order == ">" and tag != IPTC:
            value = swapped(kind, value)
        if len(value) > room:
            there, value = values_at + len(values), value + bytes(len(value) % 2)
            values, value = values + value, struct.pack(order + word, there)
        entries += struct.pack(order + "HH" + word, tag, kind, count) + value.ljust(room, b"\0")
    return struct.pack(order + ("Q" if big else "H"), len(fields)) + bytes(entries) + bytes(room) + bytes(values)


def is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def with_fields(data: bytes, fields: Fields, without: tuple[int, ...] = ()) -> bytes:
    """A TIFF of one picture with these fields added to its directory or replaced there."""
    source = Tiff(data)
    place = len(data) + len(data) % 2
    kept = {tag: one for tag, one in source.read(source.chain(1)[0]).items() if tag not in without}
    added = written(kept | fields, place, source.order, source.big)
    word = struct.pack(source.order + ("Q" if source.big else "I"), place)
    return b"".join((data[: source.head], word, data[source.head + len(word) :], bytes(place - len(data)), added))
