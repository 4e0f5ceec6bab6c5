"""XMP in two parts: as ExifTool writes it into a JPEG, and as ExifTool reads it from ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.photos.decode import decode
from pipeline.photos.encode import encode
from pipeline.provenance.extended import MAIN_BYTES, in_two_parts
from pipeline.provenance.packet import source_packet, xmp_packet
from pipeline.stages.paste import packets
from tests.support import exiftool
from tests.support.picture_files import file
from tests.support.provenance import RECORD


def described(folder: Path, characters: int) -> bytes:
    """A JPEG by ExifTool, with an XMP description of this length."""
    path, text = folder / "source.jpg", folder / "text"
    path.write_bytes(file("jpeg"))
    text.write_text("D" * characters)
    return exiftool.write(path, "-XMP-dc:Title=Class portrait", "-XMP-dc:Source=Box 7", f"-XMP-dc:Description<={text}")


@pytest.mark.parametrize("characters", [62_000, 90_000])
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_a_long_packet_goes_from_one_jpeg_into_the_next(characters: int, format: str, tmp_path: Path) -> None:
    photo = decode(described(tmp_path, characters))
    known = photo.metadata
    assert (known.extended_xmp is not None) == (characters > MAIN_BYTES)
    packet = xmp_packet(known.xmp, RECORD, 1, known.extended_xmp)
    main, rest = in_two_parts(packet)
    assert len(main) <= MAIN_BYTES and (rest is None) == (len(packet) <= MAIN_BYTES)
    parts = (main, rest) if format == "jpeg" else (packet, None)
    path = tmp_path / f"restored.{format}"
    path.write_bytes(encode(photo, photo.native, format, 90, *parts))
    tags = exiftool.tags(path)
    assert tags["XMP-dc:Description"] == "D" * characters
    assert (tags["XMP-dc:Title"], tags["XMP-dc:Source"]) == ("Class portrait", "Box 7")
    assert tags["XMP-interlcm:SourceSHA256"] == RECORD.source_sha256
    assert "ExifTool:Warning" not in tags


def test_a_crowd_of_faces_fits_into_a_jpeg(tmp_path: Path) -> None:
    packet = xmp_packet(None, replace(RECORD, regions=[(n, n, n + 9, n + 9) for n in range(400)]))
    assert len(packet) > MAIN_BYTES
    photo = decode(file("jpeg"))
    path = tmp_path / "restored.jpg"
    path.write_bytes(encode(photo, photo.native, "jpeg", 90, *in_two_parts(packet)))
    tags = exiftool.tags(path)
    assert len(tags["XMP-mwg-rs:RegionInfo"]["RegionList"]) == 400 and tags["XMP-interlcm:RestoredFaces"] == 400


def test_long_attributes_move_too_and_a_comment_does_not(tmp_path: Path) -> None:
    head = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    text = b"<rdf:Description xmlns:d='http://purl.org/dc/elements/1.1/' d:source='%s'/>" % (b"S" * 80_000)
    packet = xmp_packet(head + text + b"</rdf:RDF></x:xmpmeta>", RECORD)
    main, rest = in_two_parts(packet)
    assert len(main) <= MAIN_BYTES
    photo = decode(file("jpeg"))
    path = tmp_path / "restored.jpg"
    path.write_bytes(encode(photo, photo.native, "jpeg", 90, main, rest))
    assert exiftool.tags(path)["XMP-dc:Source"] == "S" * 80_000
    again = decode(path.read_bytes()).metadata
    assert b"S" * 80_000 in xmp_packet(again.xmp, RECORD, 1, again.extended_xmp)
    comment = head + b"<!--" + b"c" * 80_000 + b"--></rdf:RDF></x:xmpmeta>"
    photo.metadata = replace(photo.metadata, xmp=comment)
    main, rest, problem = packets(photo, RECORD, "jpeg")
    assert len(main) <= MAIN_BYTES and rest is None and problem == "left out: it is too long for a JPEG"


def test_a_second_part_that_does_not_fit_is_told(tmp_path: Path) -> None:
    data = described(tmp_path, 90_000)
    damaged = decode(data.replace(b"DDDDDDDD", b"EEEEEEEE", 1))
    assert damaged.metadata.extended_xmp is None
    assert [one.words for one in damaged.warnings] == ["not carried over: extended XMP, which is damaged"]
    assert "left out: not well-formed" in (source_packet(damaged.metadata.xmp, b"<broken")[1] or "")
