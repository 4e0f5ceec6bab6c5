"""Numbers in a file's metadata that cannot be: left out with a warning, and no photo fails for them."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from pipeline.config.limits import Limits
from pipeline.photos.decode import decode
from pipeline.photos.encode import EXTENSIONS, encode
from pipeline.photos.jpeg2000 import SIGNATURE, boxes
from pipeline.photos.losses import losses
from pipeline.photos.metadata import MOST_DPI, fields_of
from pipeline.photos.tiff import DOUBLE, FLOAT, LONG8, RATIONAL, SHORT, SRATIONAL
from pipeline.photos.view import view_of
from tests.support.metadata_files import PROFILE, with_box, with_chunk, with_segment
from tests.support.picture_files import PIXELS, by_opencv, file, tiff

MOST = 0xFFFFFFFF
PER_CM = {296: (SHORT, struct.pack("<H", 3))}


def resolution(kind: int, value: bytes) -> dict[int, tuple[int, bytes]]:
    return {282: (kind, value), 283: (kind, value)} | PER_CM


def of_tiff(kind: int, value: bytes) -> bytes:
    data = tiff(PIXELS, 2, fields=resolution(kind, value))
    # `tiff` counts bytes; each of these is one value.
    return data.replace(struct.pack("<HHI", 282, kind, len(value)), struct.pack("<HHI", 282, kind, 1)).replace(
        struct.pack("<HHI", 283, kind, len(value)), struct.pack("<HHI", 283, kind, 1)
    )


def exif_of(value: tuple[int, int]) -> bytes:
    """A block by hand: Pillow itself refuses such a resolution."""
    fields = {282: struct.pack("<II", *value), 283: struct.pack("<II", *value), 296: struct.pack("<H", 3)}
    count, place = len(fields), 8 + 2 + 12 * len(fields) + 4
    out, values = b"II*\0" + struct.pack("<IH", 8, count), b""
    for tag, raw in fields.items():
        inline = len(raw) <= 4
        where = raw.ljust(4, b"\0") if inline else struct.pack("<I", place + len(values))
        out += struct.pack("<HHI", tag, SHORT if inline else RATIONAL, 1) + where
        values += b"" if inline else raw
    return out + bytes(4) + values


def of_bmp() -> bytes:
    data = bytearray(file("bmp"))
    struct.pack_into("<ii", data, 38, 0x7FFFFFFF, 0x7FFFFFFF)
    return bytes(data)


CASES = {
    "tiff, 4294967295 per cm": of_tiff(RATIONAL, struct.pack("<II", MOST, 1)),
    "tiff, a signed fraction": of_tiff(SRATIONAL, struct.pack("<ii", 0x7FFFFFFF, 1)),
    "tiff, infinite": of_tiff(FLOAT, struct.pack("<f", np.inf)),
    "tiff, 1e300": of_tiff(DOUBLE, struct.pack("<d", 1e300)),
    "tiff, nearly nothing": of_tiff(RATIONAL, struct.pack("<II", 1, MOST)),
    "png": with_chunk(file("png"), b"pHYs", struct.pack(">IIB", MOST, MOST, 1)),
    "png, exif": with_chunk(file("png"), b"eXIf", exif_of((MOST, 1))),
    "jpeg": with_segment(file("jpeg"), 0xE1, b"Exif\0\0" + exif_of((MOST, 1))),
    "webp": file("webp", exif=b"Exif\0\0" + exif_of((MOST, 1))),
    "bmp": of_bmp(),
    "jp2": with_box(by_opencv(".jp2", PIXELS), b"resd", struct.pack(">HHHHbb", 1, 1, 1, 1, 127, 127)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resolution_that_cannot_be_is_left_out(case: str) -> None:
    photo = decode(CASES[case])
    assert photo.metadata.dpi is None
    assert [w.kind for w in photo.warnings] == ["not_carried"] and "a resolution of" in photo.warnings[0].words
    for format in EXTENSIONS:
        again = decode(encode(photo, photo.native, format, 90))
        assert again.metadata.dpi is None and 282 not in fields_of(again.metadata.exif), format
        assert again.warnings == ()


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_what_is_no_number_is_no_resolution(kind: int) -> None:
    nothing = struct.pack("<f" if kind == FLOAT else "<d", np.nan)
    photo = decode(of_tiff(kind, nothing))
    assert photo.metadata.dpi is None
    encode(photo, photo.native, "png", 90)


def test_a_resolution_that_jfif_cannot_say_is_not_said_there() -> None:
    photo = decode(of_tiff(RATIONAL, struct.pack("<II", 100_000, 1)))
    assert photo.metadata.dpi == (254_000, 254_000) and MOST_DPI > 254_000
    jpeg = encode(photo, photo.native, "jpeg", 90)
    assert jpeg[jpeg.index(b"JFIF") + 7 :][:5] == b"\0\0\1\0\1"  # no unit, square pixels: not 65535 dpi


def test_a_number_of_bigtiff_that_no_other_file_holds() -> None:
    fields = {297: (LONG8, struct.pack("<Q", 1 << 40)), 285: (2, b"leaf 3\0")}
    data = tiff(PIXELS, 2, big=True, fields=fields).replace(
        struct.pack("<HHQ", 297, LONG8, 8), struct.pack("<HHQ", 297, LONG8, 1)
    )
    photo = decode(data)
    assert photo.warnings[0].words == "not carried over: TIFF field 297, a number of more than 32 bits"
    assert fields_of(photo.metadata.exif)[285].value == b"leaf 3\0"
    encode(photo, photo.native, "tiff", 90)


def test_a_kind_of_channel_that_is_none() -> None:
    four = np.dstack([PIXELS, PIXELS[..., :1]])
    data = tiff(four, 2, extra=(60000,))
    photo = decode(data)
    assert photo.extra_samples == (0,)
    assert decode(encode(photo, photo.native, "tiff", 90)).extra_samples == (0,)


def test_the_codestream_that_is_decoded_is_the_one_that_was_measured() -> None:
    """A small one where only this project looks, a larger one where the codec looks."""
    large, small = (file_of_side(side) for side in (200, 64))
    parts = dict(boxes(small))
    hidden = struct.pack(">I4s", 8 + len(parts[b"jp2c"]), b"jp2c") + parts[b"jp2c"]
    head = large.index(b"jp2h") - 4
    size = int.from_bytes(large[head : head + 4], "big")
    inner = struct.pack(">I", size + len(hidden)) + large[head + 4 : head + size] + hidden
    both = large[:head] + inner + large[head + size :]
    assert both.startswith(SIGNATURE)
    assert view_of(both, Limits()).width == 200
    with pytest.raises(Exception, match="200 x 200 px are more than the limit") as caught:
        view_of(both, Limits(pixels=10_000))
    assert getattr(caught.value, "error_type", "") == "too_large"
    # Two in a row: the first is measured and decoded, whichever the codec would have taken.
    second = small + struct.pack(">I4s", 8 + len(dict(boxes(large))[b"jp2c"]), b"jp2c") + dict(boxes(large))[b"jp2c"]
    assert view_of(second, Limits(pixels=10_000)).width == 64


def test_boxes_within_boxes_are_no_burden() -> None:
    data = by_opencv(".jp2", PIXELS)
    nested = b"".join(struct.pack(">I4s", 8 * (3000 - n), b"res ") for n in range(3000))
    assert decode(data[:12] + nested + data[12:]).width == PIXELS.shape[1]


def file_of_side(side: int) -> bytes:
    return by_opencv(".jp2", np.resize(PIXELS, (side, side, 3)), cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)


def test_a_profile_that_no_jpeg_holds() -> None:
    size = 17 << 20
    profile = struct.pack(">I", size) + PROFILE[4:] + bytes(size - len(PROFILE))
    photo = decode(tiff(PIXELS, 2, fields={34675: (7, profile)}))
    again = decode(encode(photo, photo.native, "jpeg", 95))
    assert again.space.profile is None and np.abs(again.native.astype(int) - photo.srgb()).mean() < 3
    assert f"a colour profile of {size} bytes (the picture is in sRGB)" in losses(photo, "jpeg")[0].words
