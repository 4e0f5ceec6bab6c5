import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.config.limits import Limits
from pipeline.photos.decode import decode
from pipeline.photos.diagnosis import diagnose
from pipeline.photos.encode import encode
from pipeline.photos.errors import PhotoError
from tests.support.picture_files import DEEP, PIXELS, file, tiff

RGB = 2  # TIFF's PhotometricInterpretation


def refused(data: bytes, limits: Limits | None = None) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        decode(data, limits or Limits())
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("jpeg", {"quality": 98, "subsampling": 0}),
        ("png", {}),
        ("tiff", {}),
        ("webp", {"lossless": True}),
        ("avif", {"quality": 98, "subsampling": "4:4:4"}),
    ],
)
def test_the_orientation_is_applied_once_and_reset(orientation: int, format: str, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file(format, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    photo = decode(data)
    assert photo.native.shape == expected.shape == (photo.height, photo.width, 3)
    assert np.abs(photo.native - expected).mean() < 1.5
    again = Image.open(io.BytesIO(encode(photo, photo.native, format, 98)))
    assert again.getexif().get(0x0112, 1) == 1
    assert np.abs(np.asarray(again) - expected).mean() < 3


@pytest.mark.parametrize("format", ["jpeg", "png", "gif", "webp", "tiff", "bmp", "avif", "jpeg2000"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_cut_off_file_is_truncated(format: str, share: float) -> None:
    data = file(format)
    assert refused(data[: int(len(data) * share)]).error_type == "truncated"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_cut_off_tiff_is_truncated_wherever_its_directory_is(compression: str) -> None:
    data = encode(decode(file("tiff")), PIXELS, "tiff", 90)  # directory last
    assert refused(data[: len(data) * 2 // 3]).error_type == "truncated"
    data = file("tiff", compression=compression)  # directory first
    assert refused(data[: len(data) * 2 // 3]).error_type == "truncated"


@pytest.mark.parametrize(
    ("data", "error_type"),
    [
        (b"", "empty_file"),
        (b"Dear reader, this is a letter and no photo.", "not_an_image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not_an_image"),
        (b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF", "not_an_image"),
        (b"P6 2 2 255 123456789012", "unsupported_format"),
        (b"P6 of the report", "not_an_image"),
        (b"BMW built a car called the M1 in 1978.", "not_an_image"),
        (b"II*\0 is how some letters begin.", "truncated"),
        (bytes(5000), "not_an_image"),
        (file("png")[:4000] + b"????" + file("png")[4004:], "decode_error"),
    ],
)
def test_what_is_no_photo_says_why(data: bytes, error_type: str) -> None:
    assert refused(data).error_type == error_type


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypavci\0\0\0\0mif1avci" + bytes(99), "HEIF with AVC"),
        (b"8BPS\0\1" + bytes(99), "Photoshop"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
        (tiff(PIXELS, RGB, fields={50706: (1, b"\1\4\0\0")}), "Camera raw"),
        (tiff(PIXELS, RGB, kinds=(1,), fields={330: (4, b"\x10\0\0\0")}), "Camera raw"),
    ],
)
def test_a_format_that_is_not_decoded_is_named_with_a_remedy(data: bytes, name: str) -> None:
    error = refused(data)
    assert error.error_type == "unsupported_format"
    assert str(error).startswith(f"{name} files") and "TIFF or PNG" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {339: (3, struct.pack("<3H", 2, 2, 2))},  # signed
        {262: (3, struct.pack("<H", 8))},  # CIELab
        {262: (3, struct.pack("<H", 9))},  # ICCLab
    ],
)
@pytest.mark.parametrize("pixels", [PIXELS, DEEP])
def test_samples_that_are_no_levels_of_light_are_refused(fields: dict[int, tuple[int, bytes]], pixels: Any) -> None:
    assert refused(tiff(pixels, RGB, fields=fields)).error_type in ("unsupported_format", "decode_error")


def test_floating_point_is_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(stream, "tiff")
    error = refused(stream.getvalue())
    assert error.error_type == "unsupported_format" and "float" in str(error)


def huge(format: str, width: int, height: int) -> bytes:
    """A small file whose header says that the picture is this large."""
    data = bytearray(file(format))
    if format == "png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif format == "bmp":
        data[18:26] = struct.pack("<ii", width, -height)
    elif format == "jpeg":
        data[(start := data.index(b"\xff\xc0") + 5) : start + 4] = struct.pack(">HH", height, width)
    elif format == "jpeg2000":
        data[(start := data.index(b"\xff\x4f\xff\x51") + 8) : start + 8] = struct.pack(">II", width, height)
    elif format == "tiff":
        for tag, side in ((256, width), (257, height)):
            place = data.index(struct.pack("<HHI", tag, 4, 1))
            data[place + 8 : place + 12] = struct.pack("<I", side)
    return bytes(data)


@pytest.mark.parametrize("format", ["png", "bmp", "jpeg", "jpeg2000", "tiff"])
def test_a_picture_over_the_limit_is_refused_from_its_header(format: str) -> None:
    error = refused(huge(format, 60000, 60000))
    assert error.error_type == "too_large" and "60000 x 60000" in str(error)
    assert refused(file(format), Limits(pixels=96 * 128 - 1)).error_type == "too_large"
    assert decode(file(format), Limits(pixels=96 * 128)).width == 128


@pytest.mark.parametrize("format", ["gif", "webp", "avif"])
def test_the_limit_holds_for_every_format(format: str) -> None:
    assert refused(file(format), Limits(pixels=96 * 128 - 1)).error_type == "too_large"


def test_where_memory_ran_out_the_file_is_not_blamed() -> None:
    reason = "tiff2vips: read error\nvips_tracked: out of memory --- size == 1536MB\n"
    assert diagnose(file("tiff")[:5000], reason)[0] == "out_of_memory"


def test_a_photo_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(PhotoError("truncated", "the file ends too early")))
    assert (error.error_type, str(error)) == ("truncated", "the file ends too early")
