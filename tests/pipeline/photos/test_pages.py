import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.limits import Limits
from pipeline.photos.decode import decode
from pipeline.photos.encode import encode
from pipeline.photos.errors import PhotoError
from pipeline.photos.pages import extract, left_behind, pages
from tests.support.picture_files import ORDERS, PIXELS, Pixels, by_opencv, file, tiff
from tests.support.pictures import coffee, hopper
from tests.support.programs import made

RGB = 2  # TIFF's PhotometricInterpretation


def test_pages_that_are_pictures_of_their_own() -> None:
    for kinds, expected in (
        ((0,), [0]),
        ((0, 0, 0), [0, 1, 2]),
        ((0, 1, 0, 1), [0, 2]),
        ((2, 2), [0, 1]),
        ((1, 0), [1]),
        ((1, 1), [0]),
        ((3, 0), [1]),
        ((0, 4), [0]),
        ((0, 5, 0), [0, 2]),
    ):
        for order in ORDERS:
            for big in (False, True):
                assert pages(tiff(PIXELS, RGB, kinds=kinds, order=order, big=big)) == expected
    assert pages(file("png")) == pages(b"") == [0]


def test_each_page_is_extracted_with_its_own_fields_alone() -> None:
    stream = io.BytesIO()
    first, *others = [Image.fromarray(PIXELS[: 90 - 9 * n]) for n in range(3)]
    for n, page in enumerate((first, *others)):
        page.encoderinfo = {"tiffinfo": {270: f"page {n}", 282: 300.0, 283: 300.0, 296: 2}}
    first.save(stream, "tiff", save_all=True, append_images=others, tiffinfo=first.encoderinfo["tiffinfo"])
    data = stream.getvalue()
    assert pages(data) == [0, 1, 2]
    for number in pages(data):
        alone = extract(data, number)
        assert len(alone) < len(data) * 0.4 and pages(alone) == [0]
        photo = decode(alone)
        assert np.array_equal(photo.native, PIXELS[: 90 - 9 * number]) and photo.metadata.dpi == (300, 300)
        assert Image.open(io.BytesIO(encode(photo, photo.native, "tiff", 90))).getexif()[270] == f"page {number}"


def by_imagemagick(folder: Path, pixels: Pixels) -> bytes:
    """A pyramid whose levels are marked as pages (ImageMagick 6)."""
    source = folder / "a.png"
    source.write_bytes(by_opencv(".png", pixels))
    return made("convert", source, folder / "a.ptif", behind=("-define", "tiff:tile-geometry=64x64"))


def album(*pictures: Pixels) -> bytes:
    stream = io.BytesIO()
    first, *others = (Image.fromarray(np.ascontiguousarray(one)) for one in pictures)
    first.save(stream, "tiff", save_all=True, append_images=others)
    return stream.getvalue()


def test_the_levels_of_a_pyramid_are_one_photo(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = np.clip(hopper(301) + rng.normal(0, 25, hopper(301).shape), 0, 255).astype(np.uint8)
    for pixels in (hopper(256), grain, np.full((200, 300, 3), 250, np.uint8)):
        data = by_imagemagick(tmp_path, pixels)
        with Image.open(io.BytesIO(data)) as image:
            assert image.n_frames > 2  # type: ignore[attr-defined]
        assert pages(data) == [0]
    by_point = hopper(256)[::2, ::2]
    assert pages(album(hopper(256), by_point, coffee(256), coffee(256)[::2, ::2])) == [0, 2]


def test_another_picture_of_half_the_size_is_a_photo() -> None:
    front, back = hopper(256), hopper(256)[::-2, ::2]
    assert pages(album(front, back)) == [0, 1]
    assert pages(album(front, front)) == [0, 1]  # and the same one at full size: a second scan
    assert pages(album(front, front[::3, ::3])) == [0, 1]
    paper = np.full((400, 300), 240, np.uint8)
    one, other = paper.copy(), paper[::2, ::2].copy()
    for line in range(40, 360, 16):  # text, in lines of different lengths between the same margins
        one[line : line + 8, 30 : 120 + line * 7 % 150] = 60
        other[line // 2 : line // 2 + 4, 15 : 60 + line * 11 % 75] = 60
    assert pages(album(one, other)) == [0, 1]


def test_old_thumbnails_and_masks_are_no_photos() -> None:
    old = tiff(PIXELS, RGB, kinds=(0, 0), fields={255: (3, struct.pack("<H", 2))})
    first = struct.unpack_from("<I", old, 4)[0]
    full = old.index(struct.pack("<HHI", 255, 3, 2), first)  # of the first page, a full picture
    data = bytearray(old.replace(struct.pack("<HHI", 255, 3, 2), struct.pack("<HHI", 255, 3, 1)))
    struct.pack_into("<H", data, full + 8, 1)
    assert pages(bytes(data)) == [0]
    masked = tiff(PIXELS, RGB, kinds=(0, 4))
    assert [one.words for one in left_behind(masked, Limits())] == ["not carried over: a mask, in a separate page"]
    assert left_behind(tiff(PIXELS, RGB, kinds=(0, 1)), Limits()) == ()


def test_more_pages_than_the_limit() -> None:
    data = tiff(PIXELS, RGB, kinds=(0,) * 6)
    with pytest.raises(PhotoError, match="limit of 5") as caught:
        pages(data, Limits(pages=5))
    assert caught.value.error_type == "too_many_pages"
    assert len(pages(data, Limits(pages=6))) == 6


def test_a_ring_of_pages_and_a_page_beyond_the_end() -> None:
    data = bytearray(tiff(PIXELS, RGB, kinds=(0, 0)))
    (first,) = struct.unpack_from("<I", data, 4)
    link = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    for target, error_type in ((first, "decode_error"), (len(data) + 5, "truncated"), (0xFFFFFFF0, "truncated")):
        struct.pack_into("<I", data, link, target)
        with pytest.raises(PhotoError) as caught:
            pages(bytes(data))
        assert caught.value.error_type == error_type
    with pytest.raises(PhotoError):
        extract(tiff(PIXELS, RGB), 7)
