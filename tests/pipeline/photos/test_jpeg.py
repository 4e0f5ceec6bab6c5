"""Damaged JPEG files that still decode: how many rows the decoder filled in."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.photos.decode import decode
from pipeline.photos.errors import PhotoError
from tests.support.picture_files import file
from tests.support.pictures import hopper

END = b"\xff\xd9"


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    """A picture of 448 x 512 px whose rows all differ."""
    stream = io.BytesIO()
    Image.fromarray(hopper(512)).convert(mode).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def lost(data: bytes) -> tuple[int, int]:
    """The lost rows that the one warning of a file counts, and the number of all rows."""
    (warning,) = decode(data).warnings
    assert warning.kind == "rows_lost"
    rows, of = re.findall(r"last (\d+) of (\d+) rows", warning.words)[0]
    return int(rows), int(of)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 4}, {"optimize": True}], ids=str)
def test_the_rows_behind_a_cut_or_a_hole_are_counted(mode: str, options: dict[str, Any]) -> None:
    whole = jpeg(mode, **options)
    cut = whole[: len(whole) * 6 // 10] + END
    hole = whole[: len(whole) * 6 // 10] + bytes(2000) + whole[len(whole) * 6 // 10 + 2000 :]
    sound = decode(whole)
    assert sound.warnings == ()
    for damaged in (cut, hole):
        rows, height = lost(damaged)
        assert height == sound.height and 0.25 < rows / height < 0.55
        same = (decode(damaged).native == sound.native).all(axis=(1, 2))
        assert same[: height - rows - 32].all() and not same[height - rows :].all()


def test_damage_that_leaves_no_trace_in_the_rows_is_named_all_the_same() -> None:
    whole = jpeg(progressive=True)
    (warning,) = decode(whole[: len(whole) * 6 // 10] + END).warnings
    assert warning.kind == "rows_lost" and "premature end of data segment" in warning.words


def test_a_file_without_its_end_marker_is_whole() -> None:
    whole = jpeg()
    for bare in (whole[:-2], whole[:-1]):
        photo = decode(bare)
        assert [one.kind for one in photo.warnings] == ["no_end_marker"]
        assert np.array_equal(photo.native, decode(whole).native)
    assert "progressive" in decode(jpeg(progressive=True)[:-2]).warnings[0].words
    with pytest.raises(PhotoError) as caught:
        decode(whole[: len(whole) * 6 // 10])
    assert caught.value.error_type == "truncated"


def test_bytes_that_nobody_misses_are_no_damage() -> None:
    whole = file("jpeg")
    assert decode(whole[:-2] + b"\0\0" + END).warnings == decode(whole + bytes(4096)).warnings == ()
    stream = io.BytesIO()
    Image.new("L", (2000, 2000), 200).save(stream, "JPEG", optimize=True)
    assert bytes(512) in stream.getvalue() and decode(stream.getvalue()).warnings == ()  # a blank page is not a hole
