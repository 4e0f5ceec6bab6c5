"""Metadata from every format into every format, read back by Pillow and ExifTool."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.photos.decode import decode
from pipeline.photos.encode import EXTENSIONS, encode, in_srgb
from pipeline.photos.errors import PhotoError
from pipeline.photos.pages import extract
from tests.support import exiftool, icc
from tests.support.metadata_files import IPTC, OTHER_XMP, PROFILE, XMP, source, with_chunk
from tests.support.picture_files import DEEP, ORDERS, PIXELS, Order, file, tiff, tiff_fields

HAS_IPTC = ("jpeg", "png", "tiff", "jp2")


@pytest.mark.parametrize("written", EXTENSIONS)
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp", "avif", "jp2"])
def test_everything_survives_from_each_format_into_each(format: str, written: str, tmp_path: Path) -> None:
    photo = decode(source(format))
    assert photo.existing_xmp == XMP and photo.metadata.dpi == (300, 300) and photo.space.profile == PROFILE
    path = tmp_path / f"a.{EXTENSIONS[written]}"
    path.write_bytes(encode(photo, photo.native, written, 95, OTHER_XMP))
    again = Image.open(path)
    assert again.info["icc_profile"] == PROFILE
    block = again.getexif()
    assert block[0x010E].rstrip("\0") == "Class of 1927" and block.get(0x0112, 1) == 1
    assert block.get_ifd(0x8769)[0x9003] == "1927:10:29 11:00:00" and block.get_ifd(0x8825)[1] == "N"
    if written != "avif":  # libvips writes AVIF's EXIF with libexif, which does not know it
        assert block.get_ifd(0x8769)[0xFDE8] == "unknown to libexif"
    tags = exiftool.tags(path)
    assert tags["XMP-x:XMPToolkit"] == "other"
    assert tags.get("IFD0:XResolution", 300) == tags.get("JFIF:XResolution", 300) == 300
    assert again.info.get("dpi", (300, 300)) == pytest.approx((300, 300), abs=0.01)
    if format in HAS_IPTC and written in ("jpeg", "png", "tiff"):
        assert (tags["IPTC:Headline"], tags["IPTC:Keywords"]) == ("Head", "one")
        assert decode(path.read_bytes()).metadata.iptc == IPTC
    if (format, written) == ("png", "png"):
        assert tags["PNG:Author"] == "somebody"
    if (format, written) == ("jpeg", "jpeg"):
        assert tags["File:Comment"] == "a comment"
    if (format, written) == ("tiff", "tiff"):
        assert tags["IFD0:PageName"] == "leaf 3"
        assert 37724 not in block  # Photoshop's layers would show the old picture


@pytest.mark.parametrize("format", EXTENSIONS)
def test_without_another_packet_the_source_s_own_is_written(format: str) -> None:
    photo = decode(source(format))
    assert decode(encode(photo, photo.native, format, 95)).existing_xmp == XMP


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp"])
def test_a_file_that_says_nothing_gets_nothing_made_up(format: str, tmp_path: Path) -> None:
    photo = decode(file(format))
    assert photo.metadata.dpi is None and photo.existing_xmp is None and photo.metadata.exif is None
    path = tmp_path / "a"
    path.write_bytes(encode(photo, photo.native, format, 95))
    tags = exiftool.tags(path)
    assert not [name for name in tags if name.split(":")[0] in ("ExifIFD", "XMP-x", "IPTC", "PNG-pHYs")]
    assert not [name for name in tags if name.endswith("XResolution") and tags.get("JFIF:ResolutionUnit") != 0]


def test_png_s_own_colour_chunks_stay_with_its_pixels() -> None:
    data = with_chunk(file("png"), b"gAMA", struct.pack(">I", 55555))
    photo = decode(data)
    assert b"gAMA" + struct.pack(">I", 55555) in encode(photo, photo.native, "png", 90)
    converted = in_srgb(photo)
    assert b"gAMA" not in encode(converted, converted.native, "png", 90)
    assert b"gAMA" not in encode(photo, photo.native, "tiff", 90)


@pytest.mark.parametrize(("format", "written"), [("jpeg", "png"), ("jpeg", "webp"), ("tiff", "avif")])
def test_a_profile_for_other_channels_is_dropped_with_them(format: str, written: str) -> None:
    photo = decode(file(format, "CMYK", icc_profile=icc.cmyk()))
    assert photo.space.profile == icc.cmyk()
    for kept in ("jpeg", "tiff"):
        assert Image.open(io.BytesIO(encode(photo, photo.native, kept, 95))).info["icc_profile"] == icc.cmyk()
    again = Image.open(io.BytesIO(encode(photo, photo.native, written, 95)))
    assert again.mode == "RGB" and "icc_profile" not in again.info


def test_a_grey_profile_stays_on_grey_and_leaves_with_it() -> None:
    photo = decode(file("png", "L", icc_profile=icc.grey(1.8)))
    for kept in ("jpeg", "png", "tiff"):
        assert Image.open(io.BytesIO(encode(photo, photo.native, kept, 95))).info["icc_profile"] == icc.grey(1.8)
    for format in ("webp", "avif"):
        again = Image.open(io.BytesIO(encode(photo, photo.native, format, 98)))
        assert "icc_profile" not in again.info
        assert np.abs(np.asarray(again).astype(int) - photo.srgb()).mean() < 2


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("big", [False, True])
def test_fields_of_every_kind_of_tiff(order: Order, big: bool) -> None:
    text = b"Class of 1927\0"
    data = tiff(DEEP, 2, order=order, big=big, fields={270: (2, text), 33723: (4, IPTC[: len(IPTC) // 4 * 4])})
    # Declared as LONG, as many writers do, and counted in them.
    data = data.replace(struct.pack(order + "HH", 33723, 4), struct.pack(order + "HH", 33723, 1))
    for one in (data, extract(data, 0)):
        photo = decode(one)
        assert photo.metadata.iptc == IPTC[: len(IPTC) // 4 * 4]
        again = Image.open(io.BytesIO(encode(photo, photo.native, "png", 90)))
        assert again.getexif()[270] == "Class of 1927"


@pytest.mark.parametrize("unit", [1, 2, 3])
@pytest.mark.parametrize("format", EXTENSIONS)
def test_resolution_in_every_unit(unit: int, format: str) -> None:
    resolution = struct.pack("<II", 11811, 100)
    fields = {282: (5, resolution), 283: (5, resolution), 296: (3, struct.pack("<H", unit))}
    data = tiff(PIXELS, 2, fields=fields)
    data = data.replace(struct.pack("<HHI", 282, 5, 8), struct.pack("<HHI", 282, 5, 1))
    data = data.replace(struct.pack("<HHI", 283, 5, 8), struct.pack("<HHI", 283, 5, 1))
    data = data.replace(struct.pack("<HHI", 296, 3, 2), struct.pack("<HHI", 296, 3, 1))
    photo = decode(data)
    expected = {1: None, 2: (118.11, 118.11), 3: (118.11 * 2.54, 118.11 * 2.54)}[unit]  # 1: a shape of pixels alone
    assert photo.metadata.dpi == (expected and pytest.approx(expected))
    found = decode(encode(photo, photo.native, format, 90)).metadata.dpi
    assert found == (expected and pytest.approx(expected, abs=0.5))


def test_a_damaged_profile_is_carried_all_the_same() -> None:
    photo = decode(file("tiff", icc_profile=b"damaged" * 30))
    assert np.array_equal(photo.srgb(), PIXELS)
    for format in ("tiff", "jpeg"):
        assert decode(encode(photo, photo.native, format, 90)).space.profile == b"damaged" * 30


def test_a_big_profile_takes_several_jpeg_segments_and_a_big_packet_does_not_fit() -> None:
    profile = icc.cmyk() + bytes(200_000)
    photo = decode(file("tiff", "CMYK", icc_profile=profile))
    assert Image.open(io.BytesIO(encode(photo, photo.native, "jpeg", 90))).info["icc_profile"] == profile
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b" " * 70_000 + b"</x:xmpmeta>"
    assert decode(encode(photo, photo.native, "png", 90, packet)).existing_xmp == packet
    with pytest.raises(PhotoError, match="jpeg holds 65533 bytes") as caught:
        encode(photo, photo.native, "jpeg", 90, packet)
    assert caught.value.error_type == "not_encoded"


def test_the_tiff_that_is_written_is_one_page_with_its_structure_untouched() -> None:
    photo = decode(source("tiff"))
    fields: dict[int, Any] = tiff_fields(encode(photo, photo.native, "tiff", 90))
    assert fields[256] == (128,) and fields[257] == (96,) and fields[274] == (1,) and 254 not in fields
