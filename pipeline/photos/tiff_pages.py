"""Find the pictures of a TIFF file, and extract one as a separate file, without decoding any."""

from __future__ import annotations

import struct

from pipeline.photos.tiff import IFD, IFD8, LONG, SHORT, Field, Fields, Tiff, with_fields, written

SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, COMPRESSION = 254, 255, 256, 257, 259
DATA = (TILES, STRIPS) = ((324, 325), (273, 279))  # offsets and byte counts of a picture's tiles or strips
EXTRA_SAMPLES, SUBDIRECTORIES, DNG = 338, 330, 50706
REDUCED, MASK = 1, 4  # bits of SUBFILE: a thumbnail or pyramid level of another picture; a mask of another picture
OLD_REDUCED = 2  # a reduced copy in OLD_SUBFILE, which is a number
OLD_JPEG = 6  # a COMPRESSION whose data is located by other fields
# Fields that describe the coding of the pixels (TIFF 6.0; supplement 2; RFC 2301 for fax), orientation and profile.
DECODING = {
    *(WIDTH, LENGTH, COMPRESSION, EXTRA_SAMPLES, *TILES, *STRIPS),
    *(258, 262, 266, 274, 277, 278, 284, 292, 293, 317, 320, 322, 323, 332, 334, 336, 339, 347),
    *(*range(512, 522), *range(529, 533), 34675),
}
# Values of EXTRA_SAMPLES: not alpha (such as a film scanner's infrared), and alpha by which the colours are, or are
# not, multiplied.
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
ALPHA = (ASSOCIATED, UNASSOCIATED)


def pictures(data: bytes, limit: int) -> dict[int, tuple[int, int]]:
    """Which of a TIFF's first `limit` directories are separate pictures, from 0, with the width and height of each.

    Directories marked as a reduced copy or a mask are left out; if there are no others, the first one counts. Raises
    ValueError for a broken chain of directories.
    """
    source = Tiff(data)
    wanted = (SUBFILE, OLD_SUBFILE, WIDTH, LENGTH)
    fields = [source.read(offset, wanted) for offset in source.chain(limit)]
    sizes = {n: (_number(one, WIDTH), _number(one, LENGTH)) for n, one in enumerate(fields)}
    own = [n for n, one in enumerate(fields) if not _reduced(one) and not _mask(one)]
    return {n: sizes.get(n, (0, 0)) for n in own or [0]}


def masks(data: bytes, limit: int) -> int:
    """The number of masks among a TIFF's first `limit` directories."""
    source = Tiff(data)
    return sum(_mask(source.read(offset, (SUBFILE,))) for offset in source.chain(limit))


def halved(size: tuple[int, int], larger: tuple[int, int]) -> bool:
    """Whether a picture has half the sides of another, rounded up or down, like a pyramid level."""
    return all(small in (side // 2, (side + 1) // 2) and small for small, side in zip(size, larger, strict=True))


def is_camera_raw(data: bytes) -> bool:
    """Whether this is a camera's raw file (DNG, CR2, NEF, ARW): a TIFF whose first picture is a preview."""
    try:
        source = Tiff(data)
        fields = source.read(source.chain(1)[0], (SUBFILE, SUBDIRECTORIES, DNG))
    except (ValueError, IndexError):
        return False
    return data[8:10] == b"CR" or DNG in fields or (_reduced(fields) and SUBDIRECTORIES in fields)


def _number(fields: Fields, tag: int) -> int:
    return sum(fields[tag].numbers()[:1]) if tag in fields else 0


def _reduced(fields: Fields) -> bool:
    return bool(_number(fields, SUBFILE) & REDUCED) or _number(fields, OLD_SUBFILE) == OLD_REDUCED


def _mask(fields: Fields) -> bool:
    return bool(_number(fields, SUBFILE) & MASK)


def extra_samples(data: bytes) -> tuple[int, ...]:
    """The meaning of a TIFF's channels after the colours; empty for other files."""
    try:
        source = Tiff(data)
        kinds = source.read(source.chain(1)[0], (EXTRA_SAMPLES,))[EXTRA_SAMPLES].numbers()
        return tuple(kind if kind in ALPHA else UNSPECIFIED for kind in kinds)
    except (ValueError, LookupError):
        return ()


def plain(data: bytes) -> bytes:
    """The first picture of a TIFF as a file of one page, with only the fields that decoding needs.

    libtiff refuses a picture for nonsense in any field. Raises ValueError for a broken directory, and if one of the
    needed fields cannot be read: without it other pixels would come out.
    """
    source = Tiff(data)
    first = source.chain(1)[0]
    fields = source.read(first)
    if source.tags(first) & DECODING - fields.keys():
        raise ValueError("a field that decoding takes cannot be read")
    kinds = extra_samples(data)
    sane = {EXTRA_SAMPLES: Field(SHORT, len(kinds), struct.pack(f"<{len(kinds)}H", *kinds))} if kinds else {}
    return with_fields(data, sane, without=tuple(fields.keys() - DECODING))


def unassociated(data: bytes) -> bytes:
    """The same file, declared as not multiplied by alpha, so that decoders leave the colours unchanged."""
    out = bytearray(data)
    source = Tiff(out)
    for entry in source.entries(source.chain(1)[0]):
        if entry.tag == EXTRA_SAMPLES and entry.kind == SHORT:
            struct.pack_into(f"{source.order}{entry.count}H", out, entry.place, *[UNASSOCIATED] * entry.count)
    return bytes(out)


def extract(data: bytes, page: int) -> bytes:
    """One picture (`page` of the chain, from 0) as a separate TIFF: the same compressed bytes and fields."""
    source = Tiff(data)
    chain = source.chain(page + 1)
    if len(chain) <= page:
        raise ValueError(f"there is no page {page}")
    offset = chain[page]
    fields = {tag: field for tag, field in source.read(offset).items() if field.kind not in (IFD, IFD8)}
    for tag in (SUBFILE, OLD_SUBFILE, SUBDIRECTORIES):
        fields.pop(tag, None)
    places, sizes = TILES if TILES[0] in fields else STRIPS
    starts = fields[places].numbers() if places in fields else ()
    counts = fields[sizes].numbers() if sizes in fields else ()
    old = COMPRESSION in fields and OLD_JPEG in fields[COMPRESSION].numbers()
    if old or not starts or len(starts) != len(counts) or sum(counts) > len(data):
        return _linked_alone(source, offset)
    try:
        return _packed(data, source.order, fields, places, starts, counts)
    except struct.error:  # a number of a BigTIFF does not fit into a classic TIFF
        return _linked_alone(source, offset)


def _packed(
    data: bytes, order: str, fields: Fields, places: int, starts: tuple[int, ...], counts: tuple[int, ...]
) -> bytes:
    """A TIFF of these strips or tiles, copied, and these fields."""
    body, moved = bytearray(), []
    for start, count in zip(starts, counts, strict=True):
        moved.append(8 + len(body))
        body += data[start : start + count]
        body += bytes(len(body) % 2)
    fields[places] = Field(LONG, len(moved), struct.pack(f"<{len(moved)}I", *moved))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8 + len(body)) + body + written(fields, 8 + len(body), order)


def _linked_alone(source: Tiff, offset: int) -> bytes:
    """The whole file, with this directory as the only one: right also where it is unclear which bytes a page has."""
    out = bytearray(source.data)
    word = source.order + ("Q" if source.big else "I")
    struct.pack_into(word, out, source.head, offset)
    struct.pack_into(word, out, source.following(offset), 0)
    return bytes(out)
