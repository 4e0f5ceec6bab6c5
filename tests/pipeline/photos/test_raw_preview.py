"""The preview in a raw file: a TIFF with the layout of a DNG by tifffile and ExifTool, and previews in other places."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
import tifffile

from pipeline.photos.decode import decode
from pipeline.photos.errors import PhotoError
from pipeline.photos.raw_preview import preview
from tests.support import exiftool
from tests.support.coded_pictures import lossless_jpeg
from tests.support.pictures import encoded, hopper

SENSOR = np.random.default_rng(1).integers(0, 4096, hopper(128).shape[:2], np.uint16)


def dng(path: Path, width: int) -> bytes:
    """A thumbnail, the sensor's data and a preview of this width, as Adobe's converter lays them out."""
    with tifffile.TiffWriter(path) as file:
        file.write(hopper(32), subfiletype=1, subifds=2, photometric="rgb")
        file.write(SENSOR, subfiletype=0, photometric="cfa")
        picture = hopper(width)
        file.write(
            iter([encoded(picture)]), shape=picture.shape, dtype=np.uint8, subfiletype=1, photometric="ycbcr",
            compression="jpeg", rowsperstrip=len(picture),
        )  # fmt: skip
    return exiftool.write(
        path, "-m", "-DNGVersion=1 4 0 0", "-Make=Maker", "-DateTimeOriginal=1998:07:01 12:00:00", "-n",
        "-Orientation=6", "-XMP-dc:Title=Class of 1998",
    )  # fmt: skip


def test_the_preview_of_a_dng_has_its_metadata(tmp_path: Path) -> None:
    found = preview(dng(tmp_path / "a.dng", 128))
    assert found is not None
    data, warning = found
    assert warning.kind == "raw_preview"
    assert f"preview of 128 x {len(SENSOR)} px" in warning.words
    photo = decode(data)
    assert photo.format == "jpeg"
    upright = np.rot90(hopper(128), -1).astype(int)
    assert np.abs(photo.srgb().astype(int) - upright).mean() < 6
    (tmp_path / "a.jpg").write_bytes(data)
    tags = exiftool.tags(tmp_path / "a.jpg")
    assert tags["IFD0:Make"] == "Maker"
    assert tags["ExifIFD:DateTimeOriginal"] == "1998:07:01 12:00:00"
    assert tags["XMP-dc:Title"] == "Class of 1998"


def test_a_preview_that_is_smaller_than_the_picture_is_none(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="its largest preview has 64 x 75 px: develop it") as caught:
        preview(dng(tmp_path / "a.dng", 64))
    assert caught.value.error_type == "unsupported_format"


@pytest.mark.parametrize("head", [b"FUJIFILMCCD-RAW 0201", b"IIU\0\x18\0\0\0", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"])
def test_previews_are_found_wherever_a_maker_puts_them(head: bytes) -> None:
    large, small = encoded(hopper(1200)), encoded(hopper(160))
    raw = lossless_jpeg(np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8), 8)
    data = head.ljust(100, b"\0") + small + large + raw + bytes(100)
    found = preview(data)
    assert found is not None
    assert found[0] == large
    with pytest.raises(PhotoError, match="160 x 188 px"):
        preview(head.ljust(100, b"\0") + small + raw)
    with pytest.raises(PhotoError, match="it has no preview"):
        preview(head.ljust(100, b"\0") + raw)


def test_other_files_have_none() -> None:
    assert preview(encoded(hopper())) is None
    assert preview(b"") is None


def test_a_damaged_raw_file_is_one_error(tmp_path: Path) -> None:
    whole, random = dng(tmp_path / "a.dng", 128), Random(1)
    for _ in range(300):
        data = bytearray(whole[: random.choice((len(whole), random.randrange(len(whole))))])
        for place in range(min(len(data), 600)):
            if random.random() < 0.01:
                data[place] = random.randrange(256)
        with suppress(PhotoError):
            preview(bytes(data))
