import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.photos.decode import decode
from pipeline.photos.encode import EXTENSIONS, encode, in_srgb, output_format
from pipeline.photos.errors import PhotoError
from pipeline.photos.losses import losses
from tests.support import icc
from tests.support.picture_files import ALPHA, DEEP, DEEP_ALPHA, PIXELS, by_opencv, file, read_by_pillow, tiff

RGB = 2  # TIFF's PhotometricInterpretation


def test_in_srgb_makes_rgb_of_every_space_and_keeps_depth_and_alpha() -> None:
    deep = np.dstack([DEEP[..., :1], DEEP_ALPHA])
    photo = in_srgb(decode(tiff(deep, 1, extra=(2,))))
    assert photo.space.colours == 3 and photo.native.dtype == np.uint16
    assert np.array_equal(photo.native[..., [0, 1, 2, 3]], deep[..., [0, 0, 0, 1]])
    tagged = decode(file("jpeg", "CMYK", icc_profile=icc.cmyk()))
    photo = in_srgb(tagged)
    assert photo.space.profile is None and np.array_equal(photo.native, tagged.srgb())


def test_output_follows_the_source_where_it_can() -> None:
    for format, written in (
        *((one, one) for one in EXTENSIONS),
        ("gif", "png"),
        ("bmp", "png"),
        ("jpeg2000", "png"),
    ):
        photo = decode(file(format))
        assert output_format(photo, "source") == written
        assert output_format(photo, "webp") == "webp"
    cmyk = decode(file("jpeg", "CMYK"))
    assert output_format(replace(cmyk, format="jp2"), "source") == "tiff"


@pytest.mark.parametrize("format", EXTENSIONS)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_colour_mode_can_be_written_in_every_format(mode: str, format: str) -> None:
    photo = decode(file("tiff", mode))
    again = decode(encode(photo, photo.native, format, 95))
    assert again.format == format
    opaque = ALPHA[..., None] > 128 if mode.endswith("A") else np.full((96, 128, 1), True)
    mean = np.abs(again.srgb().astype(int) - photo.srgb())[opaque[..., 0]].mean()
    assert mean < (60 if mode.endswith("A") and format == "jpeg" else 16 if mode in "1P" else 5)
    if mode.endswith("A") and format not in ("jpeg",):
        assert np.abs(again.native[..., -1].astype(int) - ALPHA).max() <= 3


def test_jpeg_puts_what_is_transparent_on_white_paper() -> None:
    for mode in ("LA", "RGBA"):
        photo = decode(file("png", mode))
        flat = read_by_pillow(encode(photo, photo.native, "jpeg", 98))
        share = ALPHA[..., None] / 255
        expected = (photo.native[..., :-1] * share + 255 * (1 - share)).squeeze()
        assert np.abs(flat - expected).mean() < 2


def test_colours_multiplied_by_alpha_are_divided_for_other_formats() -> None:
    share = ALPHA[..., None] / 255
    multiplied = np.dstack([np.rint(PIXELS * share).astype(np.uint8), ALPHA])
    photo = decode(tiff(multiplied, RGB, extra=(1,)))
    png = read_by_pillow(encode(photo, photo.native, "png", 90))
    opaque = ALPHA > 128
    assert np.abs(png[opaque][:, :3].astype(int) - PIXELS[opaque]).max() <= 1 and np.array_equal(png[..., 3], ALPHA)


def test_an_enlarged_photo_is_written_at_its_new_size() -> None:
    photo = decode(by_opencv(".png", DEEP))
    twice = photo.native.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(decode(encode(photo, twice, "png", 90)).native, twice)


def test_what_a_format_cannot_hold_is_refused() -> None:
    photo = decode(file("png"))
    wide = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(PhotoError, match="webp cannot hold") as caught:
        encode(photo, wide, "webp", 90)
    assert caught.value.error_type == "not_encoded"


@pytest.mark.parametrize("extra", [(0,), ()])
def test_only_what_a_tiff_calls_alpha_is_alpha(extra: tuple[int, ...]) -> None:
    """A film scanner's infrared is the usual fourth channel (ExtraSamples 0), or a channel without a meaning."""
    scan = decode(tiff(np.dstack([PIXELS, ALPHA]), RGB, extra=extra))
    for format in ("jpeg", "png", "webp", "avif"):
        assert [one.kind for one in losses(scan, format)] == ["channel_dropped"]
        shown = np.asarray(Image.open(io.BytesIO(encode(scan, scan.native, format, 95))))
        assert shown.shape == PIXELS.shape and np.abs(shown.astype(int) - PIXELS).mean() < 3
    assert output_format(scan, "source") == "tiff" and losses(scan, "tiff") == []
    again = decode(encode(scan, scan.native, "tiff", 90))
    assert np.array_equal(again.native, scan.native) and not set(again.extra_samples) & {1, 2}


@pytest.mark.parametrize(("extra", "alpha"), [((2, 0), 3), ((0, 2), 4), ((0, 1), 4)])
def test_of_several_channels_alpha_is_kept(extra: tuple[int, ...], alpha: int) -> None:
    five = decode(tiff(np.dstack([PIXELS, ALPHA, 255 - ALPHA]), RGB, extra=extra))
    shown = np.asarray(Image.open(io.BytesIO(encode(five, five.native, "png", 90))))
    assert shown.shape[2] == 4 and np.array_equal(shown[..., 3], five.native[..., alpha])
    assert np.array_equal(shown[..., :3], PIXELS) or extra[1] == 1  # colours multiplied by alpha are divided again
    assert [one.kind for one in losses(five, "png")] == ["channel_dropped"]
    assert "alpha" in losses(five, "jpeg")[0].words


def test_encode_refuses_other_formats_and_channels() -> None:
    photo = decode(file("png"))
    with pytest.raises(ValueError, match="jpeg, png, tiff, webp, avif"):
        encode(photo, photo.native, "gif", 90)
    with pytest.raises(ValueError, match="channels"):
        encode(photo, photo.native[..., :1], "png", 90)
    with pytest.raises(ValueError, match="uint16"):
        encode(photo, DEEP, "png", 90)


def test_quality_governs_the_size_of_lossy_formats() -> None:
    photo = decode(file("png"))
    for format in ("jpeg", "webp", "avif"):
        assert len(encode(photo, photo.native, format, 30)) < len(encode(photo, photo.native, format, 95)) * 0.6
