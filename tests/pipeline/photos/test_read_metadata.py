"""Metadata as archives' programs write them, carried into the restored file, where ExifTool reads them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.photos.decode import decode
from pipeline.photos.encode import EXTENSIONS, encode
from pipeline.photos.losses import losses
from tests.support import exiftool
from tests.support.metadata_files import IPTC, XMP, exif, photoshop, with_box, with_segment
from tests.support.picture_files import PIXELS, by_opencv, file, tiff
from tests.support.programs import made

IPTC_TAGS = ("-IPTC:CodedCharacterSet=UTF8", "-IPTC:Headline=Head", "-IPTC:Keywords=one", "-IPTC:By-line=Schülerin")
EXIF_TAGS = ("-IFD0:Artist=A. Photographer", "-ExifIFD:DateTimeOriginal=1927:10:29 11:00:00")
XMP_TAGS = ("-XMP-dc:Source=Box 7", "-XMP-dc:Title=Class portrait")
KEPT = {
    "IPTC:Headline": "Head", "IPTC:Keywords": "one", "IPTC:By-line": "Schülerin", "IFD0:Artist": "A. Photographer",
    "ExifIFD:DateTimeOriginal": "1927:10:29 11:00:00", "XMP-dc:Source": "Box 7", "XMP-dc:Title": "Class portrait",
}  # fmt: skip
RGB = 2


def restored(data: bytes, format: str, folder: Path) -> dict[str, Any]:
    """ExifTool's tags of the file that is written for these bytes."""
    photo = decode(data)
    path = folder / f"restored.{EXTENSIONS[format]}"
    path.write_bytes(encode(photo, photo.native, format, 90))
    return exiftool.tags(path)


def told(data: bytes, format: str) -> str:
    """All warnings of a photo and its restored file."""
    photo = decode(data)
    return "; ".join(one.words for one in (*photo.warnings, *losses(photo, format)))


@pytest.mark.parametrize("written", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("by", ["exiftool", "convert", "convert without eXIf"])
def test_a_png_by_exiftool_and_by_imagemagick(by: str, written: str, tmp_path: Path) -> None:
    first, path = tmp_path / "a.jpg", tmp_path / "a.png"
    if by == "exiftool":
        path.write_bytes(file("png"))
        data = exiftool.write(path, *IPTC_TAGS, *EXIF_TAGS, *XMP_TAGS)
    else:
        first.write_bytes(file("jpeg", quality=95))
        exiftool.write(first, *IPTC_TAGS, *EXIF_TAGS, *XMP_TAGS)
        hidden = ("-define", "png:exclude-chunk=eXIf") if by.endswith("eXIf") else ()
        data = made("convert", first, path, behind=hidden)
    tags = restored(data, written, tmp_path)
    expected = KEPT if "eXIf" not in by else {name: text for name, text in KEPT.items() if "IF" not in name}
    assert {name: tags.get(name) for name in expected} == expected
    assert told(data, "webp").startswith("not carried over to webp: IPTC")


def test_the_orientation_in_a_raw_profile_is_applied(tmp_path: Path) -> None:
    block = exif(6).tobytes()
    digits = block.hex().encode()
    text = b"\nexif\n%8d\n%s\n" % (len(block), b"\n".join(digits[n : n + 72] for n in range(0, len(digits), 72)))
    path = tmp_path / "a.png"
    png = file("png")
    path.write_bytes(png[:-12] + chunk(b"tEXt", b"Raw profile type exif\0" + text) + png[-12:])  # after the pixels
    photo = decode(path.read_bytes())
    assert photo.orientation == 6 and np.array_equal(photo.native, np.rot90(PIXELS, -1))
    assert restored(path.read_bytes(), "png", tmp_path)["IFD0:ImageDescription"] == "Class of 1927"


def test_exif_and_xmp_in_chunks_behind_the_pixels(tmp_path: Path) -> None:
    """ImageMagick and older versions of ExifTool write chunks there."""
    png = file("png")
    packet = XMP.replace(b"/>", b" x:xmptk='behind'/>")
    late = chunk(b"eXIf", exif(6).tobytes()[6:]) + chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet)
    photo = decode(png[:-12] + late + png[-12:])
    assert photo.orientation == 6 and photo.existing_xmp == packet
    tags = restored(png[:-12] + late + png[-12:], "jpeg", tmp_path)
    assert tags["IFD0:ImageDescription"] == "Class of 1927" and tags["XMP-x:XMPToolkit"] == "behind"


def chunk(name: bytes, body: bytes) -> bytes:
    import zlib

    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def path_resource(number: int = 2000) -> bytes:
    records = bytes(26) * 3
    return b"8BIM" + struct.pack(">H", number) + b"\x05Path1" + struct.pack(">I", len(records)) + records


@pytest.mark.parametrize("cut", [None, 40, 60])
def test_iptc_in_a_second_app13_or_cut_over_two(cut: int | None, tmp_path: Path) -> None:
    """IPTC as Lightroom and DxO write it; cut: where the first segment ends, possibly in the middle of the record."""
    whole = path_resource() + photoshop(IPTC)[len(b"Photoshop 3.0\0") :]
    place = len(path_resource()) if cut is None else len(path_resource()) + cut
    data = with_segment(file("jpeg"), 0xED, b"Photoshop 3.0\0" + whole[place:])
    data = with_segment(data, 0xED, b"Photoshop 3.0\0" + whole[:place])
    for format in ("jpeg", "png", "tiff"):
        tags = restored(data, format, tmp_path)
        assert (tags["IPTC:Headline"], tags["IPTC:Keywords"]) == ("Head", "one")


@pytest.mark.parametrize("written", ["png", "jpeg", "tiff"])
def test_saved_paths_and_the_copyright_flag_survive(written: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_segment(file("jpeg"), 0xED, b"Photoshop 3.0\0" + path_resource()))
    data = exiftool.write(path, "-Photoshop:CopyrightFlag#=1", "-Photoshop:URL=https://archive.example/1")
    tags = restored(data, written, tmp_path)
    assert tags["Photoshop:CopyrightFlag"] == 1 and tags["Photoshop:URL"] == "https://archive.example/1"
    assert path_resource() in (
        decode((tmp_path / f"restored.{EXTENSIONS[written]}").read_bytes()).metadata.resources or b""
    )
    assert told(data, written) == "" and "saved paths" in told(data, "webp")
    turned = exiftool.write(path, "-n", "-IFD0:Orientation=6")
    photo = decode(turned)
    assert path_resource() not in encode(photo, photo.native, written, 90) and "saved paths" in told(turned, written)


def test_many_resources_take_several_segments() -> None:
    photo = decode(with_segment(file("jpeg"), 0xED, photoshop(IPTC)))
    long = b"".join(b"8BIM" + struct.pack(">HHI", n, 0, 40_000) + bytes(40_000) for n in range(2000, 2004))
    photo.metadata = type(photo.metadata)(iptc=IPTC, resources=long)
    again = decode(encode(photo, photo.native, "jpeg", 90)).metadata
    assert again.iptc == IPTC and (again.resources or b"").endswith(long)


@pytest.mark.parametrize("kind", [(3, "<H", 600), (4, "<I", 600), (11, "<f", 600.0), (12, "<d", 600.0)], ids=str)
def test_the_resolution_of_a_tiff_in_each_type_of_number(kind: tuple[int, str, float], tmp_path: Path) -> None:
    number, format, value = kind
    raw = struct.pack(format, value)
    data = tiff(PIXELS, RGB, fields={282: (number, raw), 283: (number, raw), 296: (3, struct.pack("<H", 2))})
    for tag, count in ((282, len(raw)), (283, len(raw)), (296, 2)):
        kind_of = 3 if tag == 296 else number
        data = data.replace(struct.pack("<HHI", tag, kind_of, count), struct.pack("<HHI", tag, kind_of, 1))
    assert restored(data, "tiff", tmp_path)["IFD0:XResolution"] == 600


def test_ratings_owners_and_colours_of_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(file("tiff"))
    colours = ("-IFD0:WhitePoint=0.3127 0.329", "-IFD0:PrimaryChromaticities=0.64 0.33 0.3 0.6 0.15 0.06")
    owners = ("-ExifIFD:OwnerName=City Archive", "-ExifIFD:SerialNumber=12345", "-IFD0:Rating=4")
    data = exiftool.write(path, *owners, *colours)
    for format in ("tiff", "jpeg", "png"):
        tags = restored(data, format, tmp_path)
        assert (tags["IFD0:Rating"], tags["ExifIFD:OwnerName"], tags["ExifIFD:SerialNumber"]) == (
            4,
            "City Archive",
            12345,
        )
        assert tags["IFD0:WhitePoint"] == "0.3127 0.329" and tags["IFD0:PrimaryChromaticities"].startswith("0.64 0.33")
    strange = tiff(PIXELS, RGB, fields={33550: (1, bytes(24)), 50000: (2, b"x\0")})
    assert told(strange, "tiff") == "not carried over: TIFF fields 33550, 50000"


def test_what_no_other_file_is_given_is_told() -> None:
    jp2 = with_box(by_opencv(".jp2", PIXELS), b"xml ", b"<page>The Daily</page>")
    assert told(jp2, "png") == "not carried over: box 'xml'"
    old = with_segment(file("jpeg"), 0xEC, b"[picture info]\0Resolution=1")
    assert told(old, "jpeg") == "not carried over: segment APP12 [picture"
    phone = file("jpeg") + b"\0\0\0\x18ftypmp42" + bytes(range(256))
    assert "268 bytes (a video) after the end" in told(phone, "jpeg")
    assert told(file("jpeg", comment=b"for the mayor"), "png") == "not carried over to png: comment"
    assert "text 'Author'" in told(with_text(), "jpeg") and told(with_text(), "png") == ""
    big = exif()
    big[0x010E] = "D" * 70_000
    assert "EXIF of 7" in told(file("png", exif=big), "jpeg") and told(file("png", exif=big), "webp") == ""


def test_damaged_exif_and_strange_chunks_are_told() -> None:
    broken = with_segment(file("jpeg"), 0xE1, b"Exif\0\0" + b"no directory")
    assert told(broken, "jpeg") == "not carried over: EXIF, which is damaged"
    png = file("png")
    strange = png[:33] + chunk(b"juNk", b"1") + chunk(b"tIME", b"\x07\x87\x0a\x1d\x0b\0\0") + png[33:]
    assert told(strange, "png") == "not carried over: chunk 'juNk'"
    photo = decode(strange)
    assert b"tIME" in encode(photo, photo.native, "png", 90)
    frames = [Image.fromarray(PIXELS[::-1]), Image.fromarray(PIXELS[:, ::-1])]
    assert told(file("png", save_all=True, append_images=frames), "png") == "not carried over: 2 further frames"
    for format in ("gif", "webp"):
        assert told(file(format, save_all=True, append_images=frames), format) == "the first of 3 frames is restored"


def with_text() -> bytes:
    png = file("png")
    return png[:33] + chunk(b"tEXt", b"Author\0somebody") + png[33:]


def test_the_second_picture_of_a_stereo_camera_is_told() -> None:
    stream = io.BytesIO()
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])
    first.save(stream, "MPO", save_all=True, append_images=[second])
    (warning,) = decode(stream.getvalue()).warnings
    assert warning.kind == "more_pictures" and warning.words.startswith("1 further picture in the file")


def test_a_file_that_says_nothing_gives_no_warning(tmp_path: Path) -> None:
    small, path = tmp_path / "small.jpg", tmp_path / "a.jpg"
    small.write_bytes(file("jpeg", quality=30))
    path.write_bytes(file("jpeg"))
    with_thumbnail = exiftool.write(path, f"-ThumbnailImage<={small}")
    assert small.read_bytes() in with_thumbnail and told(with_thumbnail, "jpeg") == ""
    for format in ("jpeg", "png", "tiff", "webp", "avif", "gif", "bmp", "jpeg2000"):
        assert told(file(format), "png") == ""
    assert told(file("jpeg", exif=exif(), xmp=XMP), "jpeg") == ""
