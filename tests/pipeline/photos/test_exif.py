"""EXIF blocks in detail, and garbage in place of metadata."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from pipeline.photos.decode import decode
from pipeline.photos.encode import EXTENSIONS, encode
from tests.support.metadata_files import IPTC, MAKER, exif, photoshop, with_chunk, with_segment
from tests.support.picture_files import PIXELS, file, tiff


def test_exif_keeps_its_bytes_but_for_what_is_no_longer_true() -> None:
    data = file("jpeg", exif=exif(6))
    photo = decode(data)
    before, after = photo.metadata.exif, decode(encode(photo, photo.native, "jpeg", 95)).metadata.exif
    assert before and after and len(before) == len(after)
    assert after.index(MAKER) == before.index(MAKER)  # a maker's own offsets still point where they did
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 5  # orientation, width and height
    block = Image.Exif()
    block.load(after)
    assert (block.get_ifd(0x8769)[0xA002], block.get_ifd(0x8769)[0xA003]) == (96, 128) == (photo.width, photo.height)
    twice = encode(photo, photo.native.repeat(2, 0).repeat(2, 1), "jpeg", 95)
    assert Image.open(io.BytesIO(twice)).getexif().get_ifd(0x8769)[0xA002] == 192


def exif_with_thumbnail(order: str, thumbnail: bytes) -> bytes:
    """A directory with an orientation, and a second one with a JPEG."""
    head = b"Exif\0\0" + (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHIHHI", 1, 274, 3, 1, 1, 0, 26)
    second = struct.pack(order + "HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(thumbnail), 0)
    return head + first + second + thumbnail


@pytest.mark.parametrize("order", "<>")
def test_a_thumbnail_does_not_outlive_the_faces_it_shows(order: str) -> None:
    thumbnail = file("jpeg", quality=20)
    block = exif_with_thumbnail(order, thumbnail)
    assert block[6 + 56 :] == thumbnail
    data = with_segment(with_segment(file("jpeg"), 0xED, photoshop(IPTC, thumbnail)), 0xE1, block)
    assert data.count(thumbnail[200:]) == 2
    photo = decode(data)
    for format in EXTENSIONS:
        out = encode(photo, photo.native, format, 95)
        assert thumbnail[200:400] not in out
        assert Image.open(io.BytesIO(out)).getexif().get_ifd(0x1) == {}


def test_a_thumbnail_said_to_lie_in_its_own_directory_blanks_nothing() -> None:
    block = bytearray(exif_with_thumbnail("<", b"thumbnail"))
    struct.pack_into("<I", block, 6 + 26 + 2 + 8, 0)  # at the very start
    photo = decode(with_segment(file("jpeg"), 0xE1, bytes(block)))
    after = decode(encode(photo, photo.native, "jpeg", 95)).metadata.exif
    assert after == bytes(block[6:28]) + bytes(4) + bytes(block[32:])


GARBAGE: list[bytes] = [b"", b"\0", b"garbage" * 9, bytes(200), b"II*\0\x08\0\0\0\xff\xff" + bytes(40)]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("place", ["exif", "xmp", "icc", "iptc"])
def test_garbage_beside_the_pixels_costs_no_photo(garbage: bytes, place: str) -> None:
    marker, mark = {
        "exif": (0xE1, b"Exif\0\0"),
        "xmp": (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
        "icc": (0xE2, b"ICC_PROFILE\0\1\1"),
        "iptc": (0xED, b"Photoshop 3.0\0"),
    }[place]
    jpeg = with_segment(file("jpeg"), marker, mark + garbage)
    chunk: dict[str, tuple[bytes, bytes]] = {
        "exif": (b"eXIf", garbage),
        "xmp": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + garbage),
        "icc": (b"iCCP", b"name\0\0" + zlib.compress(garbage)),
        "iptc": (b"zTXt", b"Raw profile type iptc\0\0" + garbage),
    }
    png = with_chunk(file("png"), *chunk[place])
    tag = {"exif": 34665, "xmp": 700, "icc": 34675, "iptc": 33723}[place]
    whole = tiff(PIXELS, 2, fields={tag: (7, garbage or b"\0")})
    for data in (jpeg, png, whole):
        photo = decode(data)
        assert photo.srgb().shape == (96, 128, 3)
        for format in EXTENSIONS:
            assert decode(encode(photo, photo.native, format, 90)).width == 128
