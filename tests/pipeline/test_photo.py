import gc
import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import pyvips
import skimage.data
from PIL import Image, ImageCms

from pipeline.photo import EXTENSIONS, PhotoError, decode, encode, is_grey

PIXELS = skimage.data.astronaut()[:96, :128]


def file(format: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, format, **options)
    return stream.getvalue()


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the camera was held upright, turn a quarter clockwise to view
    exif[0x010E] = "Class of 1927"  # ImageDescription
    return exif


@pytest.mark.parametrize(
    ("format", "options"),
    [("jpeg", {"quality": 95}), ("png", {}), ("tiff", {}), ("webp", {}), ("gif", {}), ("bmp", {})],
)
def test_decode_knows_the_format_by_its_content(format: str, options: dict[str, Any]) -> None:
    photo = decode(file(format, **options))
    assert (photo.format, photo.width, photo.height, photo.bit_depth) == (format, 128, 96, 8)
    assert photo.pixels.shape == (96, 128, 3) and photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.writeable
    assert np.abs(photo.pixels.astype(int) - PIXELS).mean() < 10


def test_decode_applies_the_exif_orientation_once_and_encode_resets_it() -> None:
    photo = decode(file("png", exif=turned_exif()))
    assert (photo.width, photo.height) == (96, 128)
    assert np.array_equal(photo.pixels, np.rot90(PIXELS, -1))
    for format in EXTENSIONS:
        again = decode(encode(photo, photo.pixels, format, 95))
        assert (again.width, again.height) == (96, 128), format


def test_decode_takes_the_upper_byte_of_16_bit_samples() -> None:
    wide = pyvips.Image.new_from_array(PIXELS.astype(np.uint16) * 256 + 77)
    photo = decode(wide.copy(interpretation="rgb16").tiffsave_buffer())
    assert photo.bit_depth == 16 and photo.image.format == "ushort"
    assert np.array_equal(photo.pixels, PIXELS)


@pytest.mark.parametrize(
    ("mode", "format"),
    [("L", "png"), ("LA", "png"), ("1", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpeg")],
)
def test_decode_gives_rgb_for_every_colour_mode(mode: str, format: str) -> None:
    photo = decode(file(format, mode))
    assert photo.pixels.shape == (96, 128, 3)
    assert is_grey(photo) == (mode in ("L", "LA", "1"))
    if is_grey(photo):
        assert np.array_equal(photo.pixels[..., 0], photo.pixels[..., 2])


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA"])
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_lossless_formats_return_the_same_pixels_bands_and_alpha(mode: str, format: str) -> None:
    stream = io.BytesIO()
    image = Image.fromarray(PIXELS).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(PIXELS[..., 0]))
    image.save(stream, "png")
    photo = decode(stream.getvalue())
    again = decode(encode(photo, photo.pixels, format, 90))
    assert np.array_equal(again.image.numpy(), photo.image.numpy())
    assert again.image.bands == len(mode)


def test_a_grey_photo_stays_grey_when_faces_bring_colour() -> None:
    photo = decode(file("png", "L"))
    tinted = photo.pixels.copy()
    tinted[20:40, 20:40, 0] = 255
    again = decode(encode(photo, tinted, "png", 90))
    assert again.image.bands == 1
    assert np.array_equal(again.pixels[50:], photo.pixels[50:])
    assert (again.pixels[25, 25] > photo.pixels[25, 25]).all()


def test_profile_exif_xmp_and_resolution_are_carried_but_no_thumbnail() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    photo = decode(file("jpeg", icc_profile=profile, exif=turned_exif(), dpi=(300, 300), xmp=xmp))
    again = Image.open(io.BytesIO(encode(photo, photo.pixels, "jpeg", 95)))
    assert again.info["icc_profile"] == profile
    assert again.getexif()[0x010E].startswith("Class of 1927")
    assert again.getexif().get(0x0112, 1) == 1
    assert again.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert again.info["xmp"] == xmp
    assert not again.getexif().get_ifd(0x1)


def test_a_cmyk_profile_is_not_put_on_rgb_pixels() -> None:
    cmyk = pyvips.Image.new_from_buffer(file("jpeg"), "").icc_transform("cmyk")
    photo = decode(cmyk.jpegsave_buffer())
    assert photo.image.get_typeof("icc-profile-data")
    again = decode(encode(photo, photo.pixels, "png", 90))
    assert again.image.bands == 3 and not again.image.get_typeof("icc-profile-data")


@pytest.mark.parametrize("format", ["jpeg", "png", "gif", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_cut_off_file_is_truncated(format: str, share: float) -> None:
    data = file(format)
    with pytest.raises(PhotoError) as caught:
        decode(data[: int(len(data) * share)])
    assert caught.value.error_type == "truncated"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate"])
def test_a_cut_off_tiff_is_truncated_wherever_its_directory_is(compression: str) -> None:
    data = decode(file("tiff")).image.tiffsave_buffer(compression=compression)
    with pytest.raises(PhotoError) as caught:
        decode(data[: len(data) * 2 // 3])
    assert caught.value.error_type == "truncated"


@pytest.mark.parametrize(
    ("data", "error_type"),
    [
        (b"", "empty_file"),
        (b"Dear reader, this is a letter and no photo.", "not_an_image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not_an_image"),
        (b"P6 2 2 255 123456789012", "unsupported_format"),
        (b"P6 of the report", "not_an_image"),
        (b"BMW built a car called the M1 in 1978.", "not_an_image"),
        (bytes(5000), "not_an_image"),
        (file("png")[:4000] + b"????" + file("png")[4004:], "decode_error"),
    ],
)
def test_what_is_no_photo_says_why(data: bytes, error_type: str) -> None:
    with pytest.raises(PhotoError) as caught:
        decode(data)
    assert caught.value.error_type == error_type
    assert "\n" not in str(caught.value)


def test_a_picture_over_the_limit_is_refused_from_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    png = file("png")
    bomb = bytearray(png[:16] + header + png[29:])
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(PhotoError, match="60000 x 60000") as caught:
        decode(bytes(bomb))
    assert caught.value.error_type == "too_large"
    assert decode(png, max_pixels=96 * 128).width == 128


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(99), "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        (b"\xff\x0a" + bytes(99), "JPEG XL"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "HEIC"),
        (b"8BPS\0\1" + bytes(99), "Photoshop"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
    ],
)
def test_a_format_that_is_not_decoded_is_named_with_a_remedy(data: bytes, name: str) -> None:
    with pytest.raises(PhotoError, match=f"{name} files .* TIFF or PNG") as caught:
        decode(data)
    assert caught.value.error_type == "unsupported_format"


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_a_bmp_becomes_rgb_and_keeps_its_resolution(mode: str) -> None:
    stream = io.BytesIO()
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(stream, "bmp", dpi=(300, 300))
    photo = decode(stream.getvalue())
    assert np.array_equal(photo.pixels, np.asarray(image.convert("RGB")))
    again = Image.open(io.BytesIO(encode(photo, photo.pixels, "png", 90)))
    assert again.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_bmp_over_the_limit_is_refused_from_its_header() -> None:
    bomb = bytearray(file("bmp"))
    bomb[18:26] = struct.pack("<ii", 60000, -60000)
    with pytest.raises(PhotoError, match="60000 x 60000"):
        decode(bytes(bomb))
    with pytest.raises(PhotoError) as caught:
        decode(bytes(bomb[:18]))
    assert caught.value.error_type == "truncated"


def pages(*kinds: int) -> bytes:
    """A TIFF with one page for each NewSubfileType."""
    stream = io.BytesIO()
    first, *others = [Image.fromarray(PIXELS[: 90 - 9 * n]) for n in range(len(kinds))]
    for page, kind in zip((first, *others), kinds, strict=True):
        page.encoderinfo = {"tiffinfo": {254: kind}}
    first.save(stream, "tiff", save_all=True, append_images=others, tiffinfo={254: kinds[0]})
    return stream.getvalue()


@pytest.mark.parametrize("kinds", [(0, 0), (2, 2, 2), (0, 1, 0), (0, 4), (1, 0)])
def test_a_tiff_with_more_pictures_than_one_fails_as_a_whole(kinds: tuple[int, ...]) -> None:
    with pytest.raises(PhotoError, match=f"has {len(kinds)} pages: split it") as caught:
        decode(pages(*kinds))
    assert caught.value.error_type == "multi_page"


def test_a_tiff_with_reduced_copies_is_one_photo() -> None:
    assert decode(pages(0, 1)).height == 90
    levels = decode(file("tiff")).image.tiffsave_buffer(tile=True, tile_width=16, tile_height=16, pyramid=True)
    assert pyvips.Image.new_from_buffer(levels, "").get_n_pages() > 2
    assert np.array_equal(decode(levels).pixels, PIXELS)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "gif", save_all=True, append_images=[Image.fromarray(255 - PIXELS)])
    photo = decode(stream.getvalue())
    assert photo.height == 96 and np.abs(photo.pixels.astype(int) - PIXELS).mean() < 10


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_decoding_that_takes_too_long_is_stopped_and_never_what_comes_after(tile: bool, orientation: int) -> None:
    picture = pyvips.Image.new_from_array(np.tile(PIXELS, (32, 32, 1))).copy(interpretation="srgb").bandjoin(200)
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    data = picture.tiffsave_buffer(tile=tile)
    with pytest.raises(PhotoError, match="longer than 0 s") as caught:
        decode(data, max_seconds=0)
    assert caught.value.error_type == "too_slow"
    photo = decode(data)
    gc.collect()
    assert decode(encode(photo, photo.pixels, "png", 90)).image.bands == 4


def test_a_photo_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(PhotoError("truncated", "the file ends too early")))
    assert (error.error_type, str(error)) == ("truncated", "the file ends too early")


def test_encode_refuses_other_formats_and_sizes() -> None:
    photo = decode(file("png"))
    with pytest.raises(ValueError, match="jpeg, png, tiff, webp"):
        encode(photo, photo.pixels, "gif", 90)
    with pytest.raises(ValueError, match=r"\(10, 10, 3\)"):
        encode(photo, np.zeros((10, 10, 3), dtype=np.uint8), "png", 90)


def test_quality_governs_the_size_of_a_jpeg() -> None:
    photo = decode(file("png"))
    assert len(encode(photo, photo.pixels, "jpeg", 30)) < len(encode(photo, photo.pixels, "jpeg", 95)) / 2
