"""Files from real archives, if a folder of such cases lies beside the project; each case states the right result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.limits import Limits
from pipeline.photos.decode import decode
from pipeline.photos.encode import encode, output_format
from pipeline.photos.losses import losses
from pipeline.photos.view import view_of
from pipeline.provenance.extended import in_two_parts
from pipeline.provenance.packet import xmp_packet
from tests.support import exiftool
from tests.support.provenance import RECORD

CASES = Path(__file__).parents[4] / "shared" / "cases" / "formats"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")

IPTC = {"IPTC:Headline": "Schülerin Nr. 7", "IPTC:Keywords": ["school", 1927], "IPTC:By-line": "A. Photographer"}
KEPT: dict[str, dict[str, Any]] = {
    "01-*/exiftool_tagged.png": {"IPTC:Headline": "Head", "IPTC:Keywords": ["school", 1927]},
    "02-*/im6_raw_profiles.png": IPTC | {"IFD0:Artist": "A. Photographer", "XMP-dc:Title": "Class portrait"},
    "02-*/raw_exif_orientation6.png": {"IFD0:ImageDescription": "Class of 1927", "IFD0:Orientation": 1},
    "03-*/iptc_in_second_app13.jpg": IPTC,
    "04-*/extended_xmp.jpg": {"XMP-dc:Source": "Box 7, folder 3, print 12", "XMP-dc:Title": "Class portrait"},
    "12-*/exiftool_tagged.tif": {"IFD0:Rating": 4, "IFD0:Artist": "A. Photographer", "IPTC:Headline": "Head"},
    "12-*/tiff_dpi_long.tif": {"IFD0:XResolution": 600},
    "15-*/clipping_path.jpg": {"Photoshop:CopyrightFlag": 1, "Photoshop:ClippingPathName": "Path1"},
}
WARNED = {
    "05-*/jpeg_damaged_middle_zero.jpg": "the last 399 of 1024 rows (39 %)",
    "05-*/jpeg_whole_but_no_eoi.jpg": "lacks its end marker",
    "15-*/jp2_xml_box.jp2": "box 'xml'",
    "15-*/stereo.mpo": "1 further picture",
}
DECODED = {
    "10-*/im_ptif.tif": "tiff", "10-*/old_subfiletype_thumbnail.tif": "tiff", "11-*/jp2_offset.jp2": "jp2",
    "11-*/jpeg_12bit.jpg": "jpeg", "11-*/ojpeg_ycbcr.tif": "tiff", "11-*/tiff_planar_tiled.tif": "tiff",
}  # fmt: skip


def case(pattern: str) -> bytes:
    (path,) = CASES.glob(pattern)
    return path.read_bytes()


@pytest.mark.parametrize("pattern", KEPT)
def test_what_a_file_says_is_in_the_restored_file(pattern: str, tmp_path: Path) -> None:
    photo = decode(case(pattern))
    format = output_format(photo, "source")
    packet = xmp_packet(photo.metadata.xmp, RECORD, photo.orientation, photo.metadata.extended_xmp)
    parts = in_two_parts(packet) if format == "jpeg" else (packet, None)
    path = tmp_path / f"restored.{format}"
    path.write_bytes(encode(photo, photo.native, format, 90, *parts))
    tags = exiftool.tags(path)
    assert {name: tags.get(name) for name in KEPT[pattern]} == KEPT[pattern]


@pytest.mark.parametrize("pattern", WARNED)
def test_what_is_not_right_is_told(pattern: str) -> None:
    assert WARNED[pattern] in "; ".join(one.words for one in view_of(case(pattern), Limits()).warnings)


@pytest.mark.parametrize("pattern", DECODED)
def test_a_sound_file_is_one_photo(pattern: str) -> None:
    seen = view_of(case(pattern), Limits())
    assert (seen.pages, seen.format, seen.width) == ([0], DECODED[pattern], 512)


def test_infrared_is_no_alpha() -> None:
    photo = decode(case("14-*/vuescan_rgbi.tif"))
    assert output_format(photo, "source") == "tiff" and losses(photo, "tiff") == []
    assert [one.kind for one in losses(photo, "jpeg")] == ["channel_dropped"]
    assert decode(encode(photo, photo.native, "png", 90)).native.shape[2] == 3
