import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from PIL import Image, ImageCms

from interlcm import color_fix
from interlcm.pixels import to_pixels, to_tensor
from pipeline.photos.bit_depth import eight_bit
from pipeline.photos.colour_space import Space
from pipeline.photos.monochrome import is_monochrome, is_monochrome_face
from tests.support import icc

Pixels = npt.NDArray[Any]

PIXELS = skimage.data.astronaut()[:96, :128]
GREY = PIXELS[..., 1:2]
DEEP = PIXELS.astype(np.uint16) * 257 + np.arange(128, dtype=np.uint16)[:, None] % 7


def linear_to_srgb(light: Pixels) -> Pixels:
    """IEC 61966-2-1, to 0 to 1."""
    return np.where(light < 0.0031308, 12.92 * light, 1.055 * light.clip(0) ** (1 / 2.4) - 0.055)


def deep(pixels: Pixels) -> Pixels:
    return pixels.astype(np.uint16) * 257


@pytest.mark.parametrize("pixels", [PIXELS, DEEP])
@pytest.mark.parametrize("profile", [None, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_srgb_stays_as_it_is(pixels: Pixels, profile: bytes | None) -> None:
    space = Space(3, np.iinfo(pixels.dtype).max, profile)
    assert np.array_equal(space.to_srgb(pixels), pixels)
    assert np.array_equal(space.from_srgb(pixels), pixels)


@pytest.mark.parametrize("deeper", [False, True])
def test_grey_without_a_profile_is_luma(deeper: bool) -> None:
    grey = deep(GREY) if deeper else GREY
    space = Space(1, np.iinfo(grey.dtype).max)
    assert np.array_equal(space.to_srgb(grey), np.repeat(grey, 3, axis=2))
    assert np.array_equal(np.rint(space.from_srgb(space.to_srgb(grey))), grey)
    red = np.zeros((1, 1, 3), grey.dtype)
    red[..., 0] = space.peak
    assert space.from_srgb(red).item() == pytest.approx(0.299 * space.peak, rel=1e-5)


def test_adobe_rgb_becomes_the_srgb_that_colorimetry_gives() -> None:
    light = (PIXELS / 255) ** icc.ADOBE_GAMMA @ icc.ADOBE_RGB @ np.linalg.inv(icc.SRGB)
    inside = ((light > 0) & (light < 1)).all(axis=2)
    expected = linear_to_srgb(light) * 255
    found = Space(3, 255, icc.adobe_rgb()).to_srgb(PIXELS)
    assert inside.mean() > 0.9 and np.abs(found - expected)[inside].max() < 1
    assert np.abs(expected - PIXELS)[inside].max() > 8  # otherwise the test would prove nothing


@pytest.mark.parametrize(
    ("profile", "curve"),
    [(icc.grey(1.8), lambda v: v**1.8), (icc.grey(2.2), lambda v: v**2.2)],
)
def test_a_grey_gamma_becomes_the_srgb_that_shows_the_same_light(profile: bytes, curve: Any) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    found = Space(1, 255, profile).to_srgb(ramp)
    expected = linear_to_srgb(curve(np.arange(256) / 255)) * 255
    assert np.abs(found[0].T - expected)[:, 16:].max() < 1 and np.abs(found[0].T - expected).max() < 2
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 1] == found[..., 2]).all()


# Adobe RGB and CMYK reach beyond sRGB; what lies within comes back to a fraction of an 8-bit level.
@pytest.mark.parametrize("deeper", [False, True])
@pytest.mark.parametrize(
    ("colours", "profile"),
    [(3, icc.adobe_rgb()), (1, icc.grey(1.8)), (1, icc.grey(2.2)), (1, icc.dot_gain())],
)
def test_there_and_back_shifts_nothing(colours: int, profile: bytes, deeper: bool) -> None:
    # Muted colours, which both spaces hold.
    pixels = (PIXELS // 2 + 64)[..., :colours]
    native = deep(pixels) if deeper else pixels
    space = Space(colours, np.iinfo(native.dtype).max, profile)
    back = space.from_srgb(space.to_srgb(native))
    assert back.dtype == np.float32 and back.shape == native.shape
    error = (back - native.astype(np.float32)) * (255 / space.peak)
    # In 8 bits, sRGB only rounds to the nearest level.
    assert np.abs(error).max() < (0.1 if deeper else 0.65)


@pytest.mark.parametrize("profile", [None, icc.cmyk()])
@pytest.mark.parametrize("deeper", [False, True])
def test_cmyk_goes_to_srgb_and_back_to_the_same_look(profile: bytes | None, deeper: bool) -> None:
    space = Space(4, 65535 if deeper else 255, profile)
    srgb = deep(PIXELS // 2 + 64) if deeper else PIXELS // 2 + 64
    # The tables of libvips' profile undo each other to about 6 levels of 255.
    inks = np.rint(space.from_srgb(srgb)).astype(srgb.dtype)
    assert inks.shape == (96, 128, 4)
    assert np.abs(space.to_srgb(inks).astype(float) - srgb).mean() < 7 * np.iinfo(srgb.dtype).max / 255


def test_alpha_is_no_colour() -> None:
    alpha = np.full_like(GREY, 9)
    for colours, profile in ((3, None), (3, icc.adobe_rgb()), (1, None), (1, icc.grey(1.8)), (4, None)):
        native = np.repeat(GREY, colours, axis=2)
        space = Space(colours, 255, profile)
        assert np.array_equal(space.to_srgb(np.dstack([native, alpha])), space.to_srgb(native))


def test_a_background_of_8_bits_fits_a_photo_of_16() -> None:
    for profile in (None, icc.adobe_rgb()):
        space = Space(3, 65535, profile)
        assert np.abs(space.from_srgb(PIXELS) - space.from_srgb(deep(PIXELS))).max() < 70


@pytest.mark.parametrize(
    ("colours", "profile"),
    [
        (3, b"garbage"),
        (3, icc.adobe_rgb()[:200]),
        (3, icc.adobe_rgb()[:128] + bytes(200)),
        (3, icc.grey(2.2)),
        (1, icc.adobe_rgb()),
        (4, icc.adobe_rgb()),
        (3, icc.input_only()),
        (3, b""),
    ],
)
def test_a_profile_that_does_not_serve_counts_as_none_but_stays(colours: int, profile: bytes) -> None:
    native = np.repeat(GREY, colours, axis=2)
    space = Space(colours, 255, profile)
    assert space.profile == profile
    assert np.array_equal(space.to_srgb(native), Space(colours, 255).to_srgb(native))
    assert np.array_equal(space.from_srgb(PIXELS), Space(colours, 255).from_srgb(PIXELS))


def test_sixteen_bits_are_rounded_to_eight() -> None:
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(eight_bit(every), np.floor(every / 257 + 0.5).astype(np.uint8))
    assert eight_bit(PIXELS) is PIXELS


def luma(pixels: Pixels) -> Pixels:
    return np.rint(pixels @ [0.299, 0.587, 0.114]).astype(np.uint8)


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(luma(pixels)[..., None], 3, axis=2)


def sepia(pixels: Pixels) -> Pixels:
    toned = (luma(pixels)[..., None] / 255) ** np.array([0.75, 1.0, 1.35]) * [255, 242, 217]
    return np.rint(toned).astype(np.uint8)


def unevenly_faded(pixels: Pixels) -> Pixels:
    across = np.linspace(0, 1, pixels.shape[1])[None, :, None]
    return np.rint(sepia(pixels) * (1 - across * [0, 0.06, 0.15])).astype(np.uint8)


def noisy(pixels: Pixels) -> Pixels:
    return np.rint((pixels + np.random.default_rng(0).normal(0, 10, pixels.shape)).clip(0, 255)).astype(np.uint8)


def as_jpeg(pixels: Pixels, quality: int = 50) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


PICTURES = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")}


@pytest.mark.parametrize("name", PICTURES)
def test_a_photo_of_one_tone_is_told_from_one_in_colour(name: str) -> None:
    colour = PICTURES[name]
    for one in (colour, as_jpeg(colour), noisy(colour), deep(colour)):
        assert not is_monochrome(one)
    for tone in (grey, sepia, unevenly_faded):
        for one in (tone(colour), as_jpeg(tone(colour)), noisy(tone(colour)), deep(tone(colour))):
            assert is_monochrome(one), tone


def test_the_noise_of_a_small_face_costs_a_photo_no_tone() -> None:
    """A crop of 128 px, enlarged to 512 px, keeps the noise that a small copy of its photo averages out."""
    colour = skimage.data.astronaut()[60:188, 160:288]

    def crop(pixels: Pixels) -> Pixels:
        return np.asarray(Image.fromarray(noisy(pixels)).resize((512, 512), Image.Resampling.BILINEAR))

    assert is_monochrome(noisy(grey(skimage.data.astronaut()))) and not is_monochrome(crop(grey(colour)))
    assert is_monochrome_face(crop(grey(colour)), in_monochrome=True)
    assert not is_monochrome_face(crop(colour), in_monochrome=True)
    assert is_monochrome_face(grey(colour), in_monochrome=False)
    assert not is_monochrome_face(colour, in_monochrome=False)


def test_tiny_and_flat_pictures_have_a_tone_too() -> None:
    for size in ((1, 1), (1, 5000), (3, 2)):
        assert is_monochrome(np.full((*size, 3), 200, np.uint8))
        assert is_monochrome(np.zeros((*size, 3), np.uint16))


def keep_tone(restored: Pixels, aligned: Pixels) -> Pixels:
    """The model's `keep_tone` for one crop."""
    toned = color_fix.keep_tone(to_tensor(restored[None]), to_tensor(aligned[None]))
    return to_pixels(toned, restored.dtype)[0]


@pytest.mark.parametrize("deeper", [False, True])
def test_a_restored_face_keeps_the_tone_of_its_photo(deeper: bool) -> None:
    colour = skimage.data.astronaut()[0:200, 120:320]
    kind = deep if deeper else np.asarray
    peak = 65535 if deeper else 255
    assert np.ptp(keep_tone(kind(colour), kind(grey(colour[:, ::-1]))), axis=2).max() == 0
    toned = keep_tone(kind(colour), kind(sepia(colour[:, ::-1])))
    assert toned.dtype == kind(colour).dtype
    # Sepia for its luma, within 64 levels; the luma is that of the restored face.
    assert np.abs(toned / peak * 255 - sepia_at(luma(colour))).mean() < 1.5
    assert np.abs(luma(toned / peak * 255).astype(int) - luma(colour)).mean() < 1


def sepia_at(wanted: Pixels) -> Pixels:
    """The sepia tone with this luma."""
    ramp = sepia(np.repeat(np.arange(256)[:, None, None], 3, axis=2))[:, 0]
    return ramp[np.abs(luma(ramp).astype(int)[:, None] - np.arange(256)).argmin(axis=0)][wanted]


def test_a_face_of_one_level_gives_its_tone_to_all_levels() -> None:
    flat = np.full((8, 8, 3), (120, 100, 80), np.uint8)
    toned = keep_tone(grey(PIXELS), flat)
    unclipped = (luma(PIXELS) > 40) & (luma(PIXELS) < 215)
    assert np.abs(chroma(toned)[unclipped] - chroma(flat)[0, 0]).max() < 1.1


def chroma(pixels: Pixels) -> Pixels:
    return pixels - (pixels @ [0.299, 0.587, 0.114])[..., None]
