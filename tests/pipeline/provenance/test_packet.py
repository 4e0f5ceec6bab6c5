"""The XMP packet of a restored file, read by ExifTool, Pillow and libvips."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.provenance.packet import xmp_packet
from pipeline.provenance.record import DIGITAL_SOURCE_TYPE
from tests.support.exiftool import tags
from tests.support.provenance import OWN, RECORD

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

# In all the forms that XMP part 1 allows: attributes, elements, parseType, nested descriptions, arrays, languages, two
# descriptions, and an unknown namespace.
SOURCE = f"""<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Some Toolkit 5.6'><rdf:RDF xmlns:rdf='{RDF}'>
 <rdf:Description rdf:about='uuid:1234' xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmlns:dc='http://purl.org/dc/elements/1.1/'
   xmlns:tiff='http://ns.adobe.com/tiff/1.0/' xmlns:other='http://example.org/other/1.0/'
   xmlns:iptcExt='http://iptc.org/std/Iptc4xmpExt/2008-02-29/' xmlns:xmpMM='http://ns.adobe.com/xap/1.0/mm/'
   xmp:CreatorTool='Scanner 9' tiff:Orientation='6' other:box='17'
   iptcExt:DigitalSourceType='http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm'
   xmpMM:DocumentID='xmp.did:42' xmpMM:InstanceID='xmp.iid:41'>
  <dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Solvay</rdf:li><rdf:li xml:lang='fr'>Congrès</rdf:li></rdf:Alt>
  </dc:title>
  <dc:creator><rdf:Seq><rdf:li>B. Couprie</rdf:li></rdf:Seq></dc:creator>
  <other:shelf rdf:parseType='Resource'><other:room>B</other:room><other:row>12</other:row></other:shelf>
  <other:nested><rdf:Description other:a='1'><other:b>two</other:b></rdf:Description></other:nested>
  <xmpMM:History><rdf:Seq>
   <rdf:li rdf:parseType='Resource' xmlns:e='http://ns.adobe.com/xap/1.0/sType/ResourceEvent#'><e:action>created</e:action>
    <e:when>2011-04-05T06:07:08Z</e:when></rdf:li></rdf:Seq></xmpMM:History>
 </rdf:Description>
 <rdf:Description rdf:about='uuid:1234' xmlns:photoshop='http://ns.adobe.com/photoshop/1.0/'>
  <photoshop:Credit>Institut International de Physique Solvay</photoshop:Credit>
 </rdf:Description>
</rdf:RDF></x:xmpmeta>
{" " * 2048}
<?xpacket end='w'?>""".encode()


def read(packet: bytes, folder: Path) -> dict[str, Any]:
    path = folder / "packet.xmp"
    path.write_bytes(packet)
    return tags(path)


def own(found: dict[str, Any]) -> dict[str, Any]:
    return {name.partition(":")[2]: text for name, text in found.items() if name.startswith("XMP-interlcm:")}


def test_exiftool_reads_what_was_done(tmp_path: Path) -> None:
    found = read(xmp_packet(None, RECORD), tmp_path)
    assert found["XMP-iptcExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert own(found) == OWN
    assert "XMP-xmp:CreatorTool" not in found
    (event,) = found["XMP-xmpMM:History"]
    assert (event["Action"], event["SoftwareAgent"]) == ("edited", "InterLCM 1.2.3")
    assert event["InstanceID"] == found["XMP-xmpMM:InstanceID"]
    assert tags(tmp_path / "packet.xmp", "-validate")["ExifTool:Validate"] == "0 0 0"


def test_a_photo_without_a_restored_face_is_what_its_source_is(tmp_path: Path) -> None:
    untouched = replace(RECORD, regions=(), composite=False)
    assert "XMP-iptcExt:DigitalSourceType" not in read(xmp_packet(None, untouched), tmp_path)
    found = read(xmp_packet(SOURCE, untouched), tmp_path)
    assert found["XMP-iptcExt:DigitalSourceType"].endswith("/negativeFilm")
    assert own(found)["RestoredFaces"] == 0 and "SourceDigitalSourceType" not in own(found)
    half = replace(RECORD, strengths=(1, 0.4))
    found = read(xmp_packet(None, half), tmp_path)
    assert own(found)["FaceStrengths"] == "1, 0.4"
    assert len({record.instance for record in (RECORD, half, untouched)}) == 3


def test_regions_are_parts_of_the_picture(tmp_path: Path) -> None:
    found = read(xmp_packet(None, RECORD), tmp_path)
    boxes = [region["RegionBoundary"] for region in found["XMP-iptcExt:ImageRegion"]]
    assert [(box["RbX"], box["RbY"], box["RbW"], box["RbH"]) for box in boxes] == [
        (0.1, 0.1, 0.2, 0.2),
        (0, 0.5, 0.2, 0.2),
    ]
    assert {(box["RbShape"], box["RbUnit"]) for box in boxes} == {("rectangle", "relative")}
    regions = found["XMP-mwg-rs:RegionInfo"]
    assert regions["AppliedToDimensions"] == {"W": 100, "H": 200, "Unit": "pixel"}
    areas = [(one["Area"]["X"], one["Area"]["Y"], one["Area"]["W"], one["Area"]["H"]) for one in regions["RegionList"]]
    assert areas == [(0.2, 0.2, 0.2, 0.2), (0.1, 0.6, 0.2, 0.2)]
    assert {(one["Type"], one["Area"]["Unit"]) for one in regions["RegionList"]} == {("Face", "normalized")}


def test_an_enlarged_photo_has_the_same_regions() -> None:
    larger = RECORD.at(400, 800, 4)
    assert larger.regions[0] == (40, 80, 120, 240)
    assert xmp_packet(None, larger) == xmp_packet(None, RECORD).replace(b'w="100"', b'w="400"').replace(
        b'h="200"', b'h="800"'
    )


def test_the_packet_is_wrapped_and_the_same_each_time() -> None:
    packet = xmp_packet(SOURCE, RECORD)
    assert packet == xmp_packet(SOURCE, RECORD)
    text = packet.decode()
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>') and text.endswith(
        '<?xpacket end="w"?>'
    )


def test_what_the_source_said_survives(tmp_path: Path) -> None:
    before, found = read(SOURCE, tmp_path), read(xmp_packet(SOURCE, RECORD), tmp_path)
    changed = {"XMP-iptcExt:DigitalSourceType", "XMP-tiff:Orientation", "XMP-xmpMM:InstanceID", "XMP-xmpMM:History"}
    kept = {name: text for name, text in before.items() if name.startswith("XMP-") and name not in changed}
    assert len(kept) == 11
    assert {name: found.get(name) for name in kept} == kept
    assert found["XMP-xmp:CreatorTool"] == "Scanner 9"
    assert (found["XMP-dc:Title"], found["XMP-dc:Title-fr"]) == ("Solvay", "Congrès")
    assert found["XMP-other:Shelf"] == {"Room": "B", "Row": 12}
    assert [event["Action"] for event in found["XMP-xmpMM:History"]] == ["created", "edited"]
    assert found["XMP-xmpMM:InstanceID"] not in ("", "xmp.iid:41")
    assert found["XMP-tiff:Orientation"] == 1


def test_a_digital_source_type_is_replaced_and_kept_in_the_own_namespace(tmp_path: Path) -> None:
    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm"
    element = f'<iptcExt:DigitalSourceType rdf:resource="{source_type}"/></rdf:Description>'.encode()
    attribute = f"iptcExt:DigitalSourceType='{source_type}'".encode()
    for source in (SOURCE, SOURCE.replace(attribute, b"").replace(b"</rdf:Description>\n <rdf", element + b"<rdf")):
        found = read(xmp_packet(source, RECORD), tmp_path)
        assert found["XMP-iptcExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
        assert own(found) == OWN | {"SourceDigitalSourceType": source_type}


def test_prefixes_and_the_unknown_namespace_stay_as_they_were() -> None:
    text = xmp_packet(SOURCE, RECORD).decode()
    assert 'xmlns:other="http://example.org/other/1.0/"' in text
    assert "<other:room>B</other:room>" in text and 'other:box="17"' in text and "<other:b>two</other:b>" in text
    assert 'x:xmptk="Some Toolkit 5.6"' in text


def test_a_prefix_that_means_something_else_in_the_source() -> None:
    source = SOURCE.replace(b"xmlns:other=", b"xmlns:mwg-rs='urn:else' mwg-rs:mine='yes' xmlns:other=")
    source = source.replace(b"<rdf:RDF ", b"<rdf:RDF xmlns:interlcm='urn:other' ")
    root = ElementTree.fromstring(xmp_packet(source, RECORD))
    names = {name for node in root.iter() for name in (node.tag, *node.attrib)}
    assert "{urn:else}mine" in names and "{http://www.metadataworkinggroup.com/schemas/regions/}Regions" in names
    assert not any(name.startswith("{urn:other}") for name in names)


def test_all_descriptions_are_of_the_same_resource() -> None:
    root = ElementTree.fromstring(xmp_packet(SOURCE, RECORD))
    abouts = [node.get(f"{{{RDF}}}about") for node in root.findall(f"{{{RDF}}}RDF/{{{RDF}}}Description")]
    assert abouts == ["uuid:1234"] * 3


def test_bare_rdf_and_other_encodings_are_packets_too(tmp_path: Path) -> None:
    bare = re.search(rb"<rdf:RDF.*</rdf:RDF>", SOURCE, re.DOTALL)
    assert bare is not None
    wide = SOURCE.decode().replace("begin=''", "begin='\ufeff'").encode("utf-16")
    for source in (bare[0], wide, SOURCE + b"\0\0"):
        assert read(xmp_packet(source, RECORD), tmp_path)["XMP-dc:Creator"] == ["B. Couprie"]


def test_a_thumbnail_of_the_old_faces_and_pointers_to_other_bytes_go(tmp_path: Path) -> None:
    gone = (
        "<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType='Resource' xmlns:i='http://ns.adobe.com/xap/1.0/g/img/'>"
        "<i:image>/9j/</i:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
        "<n:HasExtendedXMP xmlns:n='http://ns.adobe.com/xmp/note/'>0123</n:HasExtendedXMP>"
        "<d:provenance xmlns:d='http://purl.org/dc/terms/'>https://example.org/m.c2pa</d:provenance><dc:title>"
    )
    found = read(xmp_packet(SOURCE.replace(b"<dc:title>", gone.encode()), RECORD), tmp_path)
    assert not [name for name in found if re.search("Thumbnail|Extended|XMP-dcterms", name)]
    assert own(found)["SourceManifest"] == "https://example.org/m.c2pa"
    assert found["XMP-xmp:CreatorTool"] == "Scanner 9"


def test_a_photo_restored_twice_has_both_events_and_one_source(tmp_path: Path) -> None:
    again = replace(RECORD, source_sha256="12" * 32, weights_digest="34" * 32)
    found = read(xmp_packet(xmp_packet(SOURCE, RECORD), again), tmp_path)
    assert found["XMP-interlcm:SourceSHA256"] == "12" * 32
    assert found["XMP-interlcm:SourceDigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert len({event.get("InstanceID") for event in found["XMP-xmpMM:History"]}) == 3
    assert len(found["XMP-mwg-rs:RegionInfo"]["RegionList"]) == len(found["XMP-iptcExt:ImageRegion"]) == 4


BOMB = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>".encode() for n in range(9)
)
HOSTILE = {
    "empty": b" ",
    "no xml": b"\xff\xd8\xff\xe0 a picture",
    "cut off": SOURCE[:900],
    "not UTF-8": SOURCE.replace(b"Couprie", b"Coupri\xe9"),
    "unknown encoding": b"<?xml version='1.0' encoding='klingon'?>" + SOURCE[60:],
    "no RDF": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
    "undeclared prefix": SOURCE.replace(b"xmlns:dc=", b"xmlns:dd="),
    "entities": BOMB + b"]><x>&j;</x>",
    "entities in XMP": BOMB + b"]>" + SOURCE.partition(b"?>")[2].replace(b"Couprie", b"&j;"),
    "file": b"<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"
    + SOURCE.partition(b"?>")[2].replace(b"B. C", b"&f;"),
    "external DTD": b"<!DOCTYPE x SYSTEM 'http://127.0.0.1:1/x.dtd'>" + SOURCE.partition(b"?>")[2],
    "deep": SOURCE.replace(b"Solvay", b"<o>" * 200_000 + b"</o>" * 200_000),
    "wide": SOURCE.replace(b"B. Couprie", b"<o/>" * 300_000),
    "50 MB": SOURCE.replace(b"Solvay", b"S" * 50_000_000),
    "attributes": SOURCE.replace(b"<dc:title>", b"<dc:title dc:a='1' dc:a='2'>"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_or_hostile_packet_is_left_out_and_this_is_said(name: str, tmp_path: Path) -> None:
    packet = xmp_packet(HOSTILE[name], RECORD)
    note = re.search(r"<interlcm:SourcePacket>(left out: [^<]+)</interlcm:SourcePacket>", packet.decode())
    assert note is not None and len(note[1]) < 120
    assert packet.replace(note[0].encode(), b"") == xmp_packet(None, RECORD)


def test_exiftool_reads_the_note_about_a_left_out_packet(tmp_path: Path) -> None:
    found = read(xmp_packet(b"<broken", RECORD), tmp_path)
    assert own(found) | {"SourcePacket": ""} == OWN | {"SourcePacket": ""}
    assert own(found)["SourcePacket"].startswith("left out: not well-formed")


def with_packet(packet: bytes, extension: str) -> bytes:
    image = pyvips.Image.black(100, 200, bands=3).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.blob_type, "xmp-data", packet)
    return bytes(image.write_to_buffer(extension))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_every_format_carries_the_packet(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"restored{extension}"
    packet = xmp_packet(SOURCE, RECORD)
    path.write_bytes(with_packet(packet, extension))
    found = tags(path)
    assert own(found) == OWN | {
        "SourceDigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm"
    }
    assert found["XMP-iptcExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert found["XMP-photoshop:Credit"] == "Institut International de Physique Solvay"
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert np.asarray(image.convert("RGB")).shape == (200, 100, 3)


@settings(max_examples=400, deadline=None)
@given(
    place=st.integers(0, len(SOURCE) - 1),
    piece=st.one_of(
        st.binary(max_size=8), st.sampled_from([b"<rdf:li>", b"</rdf:li>", b"&#0;", b"<!--", b"]]>", b"\xff"])
    ),
    cut=st.integers(0, 200),
)
def test_whatever_is_wrong_with_a_packet_another_one_comes_out(place: int, piece: bytes, cut: int) -> None:
    packet = xmp_packet(SOURCE[:place] + piece + SOURCE[place + cut :], RECORD, orientation=6)
    root = ElementTree.fromstring(packet)
    own_name = "{urn:uuid:6b1f3c52-0e0d-4a53-9d5e-3c9a1f0f7a41#}SourceSHA256"
    assert [node.text for node in root.iter(own_name)] == ["ab" * 32]
