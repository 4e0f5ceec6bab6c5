"""Formats that libvips' wheel leaves out, from files by the programs that write them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.limits import Limits
from pipeline.photos.decode import decode
from pipeline.photos.encode import encode, output_format
from pipeline.photos.errors import PhotoError
from pipeline.photos.losses import losses
from pipeline.photos.pages import extract, pages
from tests.support import coded_pictures, exiftool
from tests.support.metadata_files import PROFILE, XMP, exif, with_chunk
from tests.support.picture_files import ALPHA, DEEP, PIXELS, Pixels, by_opencv, file
from tests.support.programs import made

RGBA: Pixels = np.dstack([PIXELS, ALPHA])


def difference(data: bytes, expected: Pixels) -> float:
    """Mean difference, in levels of 255."""
    native = decode(data).native.astype(float) / (257 if decode(data).native.dtype == np.uint16 else 1)
    return float(np.abs(native - expected.reshape(native.shape) / (257 if expected.dtype == np.uint16 else 1)).mean())


def png(folder: Path, pixels: Pixels) -> Path:
    path = folder / "a.png"
    path.write_bytes(by_opencv(".png", pixels))
    return path


def refused(data: bytes, limits: Limits | None = None) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        decode(data, limits or Limits())
    return caught.value


@pytest.mark.parametrize("options", [("-d", "37,21"), ("-t", "40,40", "-d", "3,5"), ("-r", "20")], ids=str)
@pytest.mark.parametrize("pixels", [PIXELS[..., :1], PIXELS, RGBA, DEEP], ids=["grey", "rgb", "rgba", "16 bit"])
def test_jpeg_2000_by_openjpeg(pixels: Pixels, options: tuple[str, ...], tmp_path: Path) -> None:
    data = made("opj_compress", png(tmp_path, pixels.squeeze()), tmp_path / "a.jp2", *options)
    photo = decode(data)
    assert (photo.format, photo.bit_depth, photo.space.colours) == ("jp2", 8 * pixels.itemsize, min(pixels.shape[2], 3))
    assert difference(data, pixels) < (3 if "-r" in options else 0.01)
    assert output_format(photo, "source") == "png" and losses(photo, "png") == []
    assert refused(data[: len(data) // 2]).error_type == "truncated"


def test_jpeg_2000_with_colours_at_half_the_size(tmp_path: Path) -> None:
    import cv2

    luma, red, blue = (part.astype(np.uint8) for part in cv2.split(cv2.cvtColor(PIXELS.copy(), cv2.COLOR_RGB2YCrCb)))
    halves = [cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for part in (blue, red)]
    raw = tmp_path / "a.yuv"
    raw.write_bytes(b"".join(part.tobytes() for part in (luma, *halves)))
    data = made("opj_compress", raw, tmp_path / "a.jp2", "-F", "128,96,3,8,u@1x1:2x2:2x2")
    assert difference(data, PIXELS) < 2


def test_a_fourth_channel_of_jpeg_2000_is_alpha_where_it_says_so(tmp_path: Path) -> None:
    data = made("opj_compress", png(tmp_path, RGBA), tmp_path / "a.jp2")
    unsaid = data.replace(b"\0\3\0\1\0\0", b"\0\3\xff\xff\xff\xff", 1)  # the channel's entry in the cdef box
    assert unsaid != data and output_format(decode(data), "source") == "png"
    assert output_format(decode(unsaid), "source") == "tiff"
    assert [one.kind for one in losses(decode(unsaid), "png")] == ["channel_dropped"]


@pytest.mark.parametrize("compression", ["zstd", "lzma", "webp"])
def test_tiff_by_tiffcp_in_new_compressions(compression: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    source.write_bytes(file("tiff", icc_profile=PROFILE, dpi=(600, 600)))
    data = made("tiffcp", source, tmp_path / "b.tif", "-c", compression)
    for one in (data, extract(data, 0)):
        photo = decode(one)
        assert difference(one, PIXELS) < (3 if compression == "webp" else 0.01)
        assert photo.metadata.dpi == (600, 600) and photo.space.profile == PROFILE
    assert output_format(photo, "source") == "tiff" and pages(data) == [0]


@pytest.mark.parametrize("pixels", [PIXELS, DEEP], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("compression", ["lzw", "zstd"])
def test_tiff_of_tiles_in_separate_planes(pixels: Pixels, compression: str) -> None:
    data = coded_pictures.planar_tiles(pixels, compression)
    assert np.array_equal(decode(data).native, pixels) and np.array_equal(decode(extract(data, 0)).native, pixels)


def test_old_style_jpeg_in_tiff() -> None:
    jpeg = file("jpeg", quality=95)
    data = coded_pictures.old_jpeg(jpeg, 128, 96)
    assert difference(data, np.asarray(Image.open(io.BytesIO(jpeg)))) < 1
    assert refused(data[:2000]).error_type in ("truncated", "decode_error")


def test_jpeg_of_12_bits_keeps_them() -> None:
    for pixels in (DEEP, DEEP[..., :1]):
        data = coded_pictures.jpeg_of_12_bits(pixels >> 4)
        photo = decode(data)
        assert (photo.format, photo.bit_depth, photo.native.dtype) == ("jpeg", 12, np.uint16)
        assert difference(data, pixels) < 1.5
        assert output_format(photo, "source") == "png"  # a written JPEG has 8 bits
        assert decode(encode(photo, photo.native, "png", 90)).bit_depth == 16
    assert refused(data[: len(data) // 2]).error_type == "truncated"
    hollow = decode(data[: len(data) // 2] + b"\xff\xd9")
    assert [one.kind for one in hollow.warnings] == ["rows_lost"]
    assert refused(coded_pictures.jpeg_of_12_bits(), Limits(pixels=100)).error_type == "too_large"


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_is_lossless(bits: int) -> None:
    stored = DEEP >> (16 - bits)
    photo = decode(coded_pictures.lossless_jpeg(stored.astype(np.uint8) if bits == 8 else stored, bits))
    peak = np.iinfo(photo.native.dtype).max
    assert photo.bit_depth == bits
    assert np.array_equal(np.rint(photo.native * (((1 << bits) - 1) / peak)), stored)


def described(path: Path, source: bytes) -> Path:
    """A picture with all kinds of metadata, like a phone's."""
    path.write_bytes(source)
    exiftool.write(path, "-m", "-IFD0:Artist=A. Photographer", "-XMP-dc:Title=Class portrait", "-IFD0:XResolution=300")
    return path


def test_heic_of_a_phone(tmp_path: Path) -> None:
    source = described(tmp_path / "a.png", file("png", icc_profile=PROFILE))
    data = made("heif-enc", source, tmp_path / "a.heic", "-q", "95")
    photo = decode(data)
    assert (photo.format, photo.bit_depth, photo.space.profile) == ("heic", 8, PROFILE)
    assert difference(data, PIXELS) < 3
    path = tmp_path / f"restored.{output_format(photo, 'source')}"
    path.write_bytes(encode(photo, photo.native, "png", 90))
    tags = exiftool.tags(path)
    assert (tags["IFD0:Artist"], tags["XMP-dc:Title"]) == ("A. Photographer", "Class portrait")
    assert refused(data[: len(data) // 2]).error_type == "truncated"
    assert refused(data, Limits(pixels=100)).error_type == "too_large"


def test_heic_of_10_bits_and_with_alpha(tmp_path: Path) -> None:
    data = made("heif-enc", png(tmp_path, DEEP), tmp_path / "a.heic", "-b", "10", "-q", "95")
    assert decode(data).bit_depth == 10 and difference(data, DEEP) < 3
    data = made("heif-enc", png(tmp_path, RGBA), tmp_path / "a.heic", "-q", "95")
    photo = decode(data)
    assert photo.native.shape == RGBA.shape and np.abs(photo.native.astype(int) - RGBA).mean() < 4


@pytest.mark.parametrize("pixels", [PIXELS[..., :1], PIXELS, RGBA, DEEP], ids=["grey", "rgb", "rgba", "16 bit"])
def test_jpeg_xl_by_cjxl(pixels: Pixels, tmp_path: Path) -> None:
    source = png(tmp_path, pixels.squeeze())
    data = made("cjxl", source, tmp_path / "a.jxl", "-d", "0")
    photo = decode(data)
    assert (photo.format, photo.bit_depth, photo.space.colours) == ("jxl", 8 * pixels.itemsize, min(pixels.shape[2], 3))
    assert np.array_equal(photo.native, pixels) and output_format(photo, "source") == "png"
    lossy = made("cjxl", source, tmp_path / "b.jxl", "-d", "1")
    level = 257 if pixels.dtype == np.uint16 else 1
    assert np.abs(decode(lossy).native[..., :3].astype(float) - pixels[..., :3]).mean() < 4 * level
    assert refused(data, Limits(pixels=100)).error_type == "too_large"
    assert refused(data[: len(data) // 2]).error_type in ("truncated", "decode_error")


def test_a_jpeg_packed_as_jpeg_xl_is_that_jpeg(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(file("jpeg", exif=exif(6), icc_profile=PROFILE, xmp=XMP))
    photo, packed = decode(source.read_bytes()), decode(made("cjxl", source, tmp_path / "a.jxl", "--lossless_jpeg=1"))
    assert packed.format == "jxl" and np.array_equal(packed.native, photo.native)
    assert (packed.metadata, packed.space, packed.orientation) == (photo.metadata, photo.space, 6)


def test_jpeg_xl_in_its_own_colours_or_not_at_all(tmp_path: Path) -> None:
    source = png(tmp_path, PIXELS)
    wide = decode(made("cjxl", source, tmp_path / "a.jxl", "-x", "color_space=RGB_D65_DCI_Rel_SRG"))
    assert wide.space.profile and np.abs(wide.srgb().astype(int) - wide.native).mean() > 0.5
    by_numbers = png(tmp_path, PIXELS).read_bytes()  # as ImageMagick says sRGB
    numbers = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    by_numbers = with_chunk(with_chunk(by_numbers, b"cHRM", numbers), b"gAMA", struct.pack(">I", 45455))
    source.write_bytes(by_numbers)
    assert np.array_equal(decode(made("cjxl", source, tmp_path / "d.jxl", "-d", "0")).native, PIXELS)
    png(tmp_path, PIXELS)
    for colours in ("RGB_D65_SRG_Rel_Lin", "RGB_D65_202_Rel_PeQ"):
        error = refused(made("cjxl", source, tmp_path / "b.jxl", "-d", "0", "-x", f"color_space={colours}"))
        assert error.error_type == "unsupported_format" and "djxl" in str(error)
    source.write_bytes(file("png", icc_profile=PROFILE))
    photo = decode(made("cjxl", source, tmp_path / "c.jxl", "-d", "0"))
    assert photo.space.profile == PROFILE and np.array_equal(photo.native, PIXELS)
    error = refused(made("cjxl", source, tmp_path / "c.jxl", "-d", "1"))
    assert "an ICC profile, packed with loss" in str(error) and error.error_type == "unsupported_format"


def test_metadata_of_jpeg_xl(tmp_path: Path) -> None:
    path = described(tmp_path / "a.jxl", made("cjxl", png(tmp_path, PIXELS), tmp_path / "a.jxl"))
    photo = decode(path.read_bytes())
    path = tmp_path / "restored.png"
    path.write_bytes(encode(photo, photo.native, "png", 90))
    tags = exiftool.tags(path)
    assert (tags["IFD0:Artist"], tags["XMP-dc:Title"]) == ("A. Photographer", "Class portrait")


def test_pictures_that_no_other_test_writes() -> None:
    for data, format in ((coded_pictures.HEIC, "heic"), (coded_pictures.JPEG_XL, "jxl")):
        photo = decode(data)
        assert (photo.format, photo.width, photo.height) == (format, 48, 36)
