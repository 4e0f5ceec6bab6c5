import io
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.config.limits import Limits
from pipeline.photos.decode import decode, extract, pages
from pipeline.photos.encode import encode
from pipeline.photos.errors import PhotoError
from tests.support.picture_files import ORDERS, PIXELS, file, tiff

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
