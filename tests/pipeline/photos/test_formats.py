"""Every format, bit depth and colour mode: untouched pixels pass through a lossless format unchanged."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.photos.decode import decode
from pipeline.photos.encode import encode, output_format
from pipeline.photos.pages import extract, pages
from tests.support.metadata_files import PROFILE
from tests.support.picture_files import (
    ALPHA,
    DEEP,
    DEEP_ALPHA,
    PIXELS,
    Pixels,
    by_opencv,
    file,
    jpeg2000,
    read_by_opencv,
    read_by_pillow,
    read_tiff,
    tiff,
)

GREY, RGB, CMYK = 1, 2, 5  # TIFF's PhotometricInterpretation
READERS: dict[str, Callable[[bytes], Pixels]] = {"png": read_by_pillow, "tiff": read_tiff, "webp": read_by_pillow}


def by_pillow(mode: str) -> Pixels:
    """The pixels that `file` writes into a file of this mode, channels last."""
    image = Image.fromarray(PIXELS).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(ALPHA))
    pixels = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode)))
    return pixels.reshape(96, 128, -1)


def outcome(data: bytes, expected: Pixels, format: str, bit_depth: int, written: str) -> None:
    photo = decode(data)
    assert (photo.format, photo.bit_depth) == (format, bit_depth)
    assert photo.native.dtype == expected.dtype and photo.native.flags.writeable
    assert np.array_equal(photo.native, expected)
    assert photo.srgb().shape == (96, 128, 3) and photo.srgb().dtype == photo.native.dtype
    assert output_format(photo, "source") == written
    out = encode(photo, photo.native, written, 90)
    reader = read_by_opencv if written == "png" and bit_depth > 8 else READERS[written]
    assert np.array_equal(reader(out).reshape(expected.shape), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_of_8_bits(mode: str) -> None:
    outcome(file("png", mode), by_pillow(mode), "png", 1 if mode == "1" else 8, "png")


@pytest.mark.parametrize("pixels", [DEEP[..., :1], DEEP, np.dstack([DEEP, DEEP_ALPHA])], ids=["grey", "rgb", "rgba"])
def test_png_of_16_bits(pixels: Pixels) -> None:
    outcome(by_opencv(".png", pixels.squeeze()), pixels, "png", 16, "png")


@pytest.mark.parametrize(
    ("mode", "compression"),
    [("1", one) for one in ("raw", "group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw")]
    + [(mode, one) for mode in ("L", "LA", "P", "RGB", "RGBA", "CMYK") for one in ("raw", "tiff_lzw", "packbits")]
    + [("RGB", "tiff_adobe_deflate")],
)
def test_tiff_by_pillow(mode: str, compression: str) -> None:
    data = file("tiff", mode, compression=compression)
    outcome(data, by_pillow(mode), "tiff", 1 if mode == "1" else 8, "tiff")
    outcome(extract(data, 0), by_pillow(mode), "tiff", 1 if mode == "1" else 8, "tiff")


@pytest.mark.parametrize(
    ("pixels", "photometric", "options"),
    [
        (PIXELS, RGB, {"planar": True}),
        (DEEP, RGB, {}),
        (DEEP, RGB, {"order": ">"}),
        (DEEP, RGB, {"planar": True, "order": ">"}),
        (DEEP, RGB, {"big": True}),
        (DEEP, RGB, {"big": True, "order": ">"}),
        (DEEP[..., :1], GREY, {}),
        (DEEP[..., :2], GREY, {"extra": (2,)}),
        (np.dstack([PIXELS, ALPHA]), CMYK, {}),
        (np.dstack([DEEP, DEEP_ALPHA]), CMYK, {}),
        (np.dstack([PIXELS, ALPHA, ALPHA[::-1]]), CMYK, {"extra": (2,)}),
        (np.dstack([DEEP, DEEP_ALPHA]), RGB, {"extra": (2,)}),
        (np.dstack([DEEP, DEEP_ALPHA]), RGB, {"extra": (1,)}),
        (np.dstack([PIXELS, ALPHA]), RGB, {"extra": (1,)}),
        (np.dstack([PIXELS, ALPHA]), RGB, {"extra": (0,)}),
        (np.dstack([PIXELS, ALPHA, ALPHA[::-1]]), RGB, {"extra": (2, 0)}),
    ],
)
def test_tiff_by_hand(pixels: Pixels, photometric: int, options: dict[str, Any]) -> None:
    data = tiff(pixels, photometric, **options)
    bits = 8 * pixels.itemsize
    outcome(data, pixels, "tiff", bits, "tiff")
    outcome(extract(data, 0), pixels, "tiff", bits, "tiff")


@pytest.mark.parametrize("pixels", [PIXELS, DEEP])
def test_tiles(pixels: Pixels) -> None:
    name = "srgb" if pixels.itemsize == 1 else "rgb16"
    image = pyvips.Image.new_from_array(pixels).copy(interpretation=name)
    data = image.tiffsave_buffer(tile=True, tile_width=32, tile_height=48, compression="lzw")
    outcome(data, pixels, "tiff", 8 * pixels.itemsize, "tiff")
    outcome(extract(data, 0), pixels, "tiff", 8 * pixels.itemsize, "tiff")


def test_grey_where_white_is_0_comes_out_where_black_is() -> None:
    photo = decode(tiff(DEEP[..., :1], 0))
    assert np.array_equal(photo.native, 65535 - DEEP[..., :1])
    assert np.array_equal(read_tiff(encode(photo, photo.native, "tiff", 90)), photo.native)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_webp_stays_lossless(mode: str) -> None:
    data = file("webp", mode, lossless=True, exact=True)
    outcome(data, by_pillow(mode), "webp", 8, "webp")
    lossy = decode(file("webp", mode, quality=60))
    assert len(encode(lossy, lossy.native, "webp", 60)) < len(data) / 3


def test_the_first_frame_of_an_animation() -> None:
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    for format in ("gif", "webp", "png"):
        options: dict[str, Any] = {"lossless": True} if format == "webp" else {}
        data = file(format, save_all=True, append_images=[second], **options)
        photo = decode(data)
        assert photo.native.shape[:2] == (96, 128) and pages(data) == [0]
        assert np.abs(photo.srgb().astype(int) - np.asarray(first)).mean() < 10
        assert photo.lossless == (format == "webp")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp_becomes_png(mode: str) -> None:
    outcome(file("bmp", mode), by_pillow(mode), "bmp", 1 if mode == "1" else 8, "png")


def test_the_alpha_of_a_bmp_is_kept() -> None:
    pixels = by_pillow("RGBA")
    outcome(by_opencv(".bmp", pixels), pixels, "bmp", 8, "png")


def test_the_profile_of_a_bmp_is_kept() -> None:
    pixels = PIXELS[::-1, :, ::-1].tobytes()  # lowest line first, blue first
    head = struct.pack("<IiiHHIIiiII", 124, 128, 96, 1, 24, 0, len(pixels), 11811, 11811, 0, 0) + bytes(16)
    head += struct.pack("<I", 0x4D424544) + bytes(36 + 12) + struct.pack("<IIII", 4, 124 + len(pixels), len(PROFILE), 0)
    size = 14 + len(head) + len(pixels) + len(PROFILE)
    data = b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + len(head)) + head + pixels + PROFILE
    outcome(data, PIXELS, "bmp", 8, "png")
    photo = decode(data)
    assert photo.space.profile == PROFILE and photo.metadata.dpi == (300, 300)
    assert not np.array_equal(photo.srgb(), PIXELS)
    assert Image.open(io.BytesIO(encode(photo, photo.native, "png", 90))).info["icc_profile"] == PROFILE


def test_gif_becomes_png() -> None:
    outcome(file("gif", "P"), by_pillow("P"), "gif", 8, "png")


@pytest.mark.parametrize("pixels", [PIXELS[..., :1], PIXELS, by_pillow("RGBA")], ids=["grey", "rgb", "rgba"])
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 16])
def test_jpeg_2000_becomes_png(pixels: Pixels, bits: int) -> None:
    deep = pixels.astype(np.uint16) * 257 >> (16 - bits)
    data = jpeg2000(deep, bits)
    if bits == 8:
        outcome(data, pixels, "jp2", 8, "png")
        return
    # Over the full range, so that each of the fewer levels can be recovered.
    full = np.rint(deep * (65535 / ((1 << bits) - 1))).astype(np.uint16)
    assert np.array_equal(np.rint(full * (((1 << bits) - 1) / 65535)).astype(np.uint16), deep)
    outcome(data, full, "jp2", bits, "png")


def test_a_jpeg_2000_codestream_without_boxes() -> None:
    data = by_opencv(".jp2", PIXELS, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    outcome(data[data.index(b"\xff\x4f\xff\x51") :], PIXELS, "jp2", 8, "png")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_keeps_its_channels(mode: str) -> None:
    photo = decode(file("jpeg", mode, quality=95))
    assert photo.native.shape[2] == len(by_pillow(mode)[0, 0]) and photo.bit_depth == 8
    assert np.array_equal(photo.native.squeeze(), read_by_pillow(file("jpeg", mode, quality=95))) or mode != "L"
    again = read_by_pillow(encode(photo, photo.native, "jpeg", 95)).reshape(photo.native.shape)
    assert np.abs(again.astype(int) - by_pillow(mode)).mean() < 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avif_of_8_bits(mode: str) -> None:
    photo = decode(file("avif", mode, quality=95, subsampling="4:4:4"))
    assert (photo.format, photo.bit_depth, photo.native.shape[2]) == ("avif", 8, len(mode))
    again = read_by_pillow(encode(photo, photo.native, output_format(photo, "source"), 95))
    assert np.abs(again.astype(int) - by_pillow(mode)).mean() < 3


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_bits_keeps_them(bits: int) -> None:
    source = pyvips.Image.new_from_array(DEEP).copy(interpretation="rgb16")
    photo = decode(source.heifsave_buffer(compression="av1", bitdepth=bits, Q=100, lossless=True))
    assert photo.native.dtype == np.uint16 and photo.bit_depth == bits
    # Full range: the level 2^bits - 1 is 65535.
    levels = photo.native * (((1 << bits) - 1) / 65535)
    assert np.abs(levels - np.rint(levels)).max() < 0.04
    again = decode(encode(photo, photo.native, "avif", 95))
    assert again.bit_depth == bits
    assert np.abs(again.native.astype(int) - photo.native).mean() < 2.5 * 257


def test_sixteen_bits_become_eight_where_a_format_has_no_more() -> None:
    photo = decode(by_opencv(".png", DEEP))
    for format in ("jpeg", "webp"):
        eight = read_by_pillow(encode(photo, photo.native, format, 98))
        assert np.abs(eight - DEEP / 257).mean() < 3
