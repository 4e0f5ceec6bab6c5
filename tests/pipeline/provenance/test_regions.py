"""A source's regions when its pixels are turned and enlarged; Pillow turns, ExifTool reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.provenance.packet import xmp_packet
from tests.support.exiftool import tags
from tests.support.provenance import RECORD

STORED = (120, 80)  # px, width and height
BOX = (12, 8, 60, 24)  # px, x, y, width and height: the white part
PACKET = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:m="http://www.metadataworkinggroup.com/schemas/regions/" xmlns:a="http://ns.adobe.com/xmp/sType/Area#"
 xmlns:d="http://ns.adobe.com/xap/1.0/sType/Dimensions#" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:MP="http://ns.microsoft.com/photo/1.2/" xmlns:r="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
 xmlns:g="http://ns.microsoft.com/photo/1.2/t/Region#">
<m:Regions rdf:parseType="Resource"><m:AppliedToDimensions d:w="120" d:h="80" d:unit="pixel"/><m:RegionList><rdf:Bag>
 <rdf:li><rdf:Description m:Name="Marie Curie" m:Type="Face"><m:Area a:x="0.35" a:y="0.25" a:w="0.5" a:h="0.3"
  a:unit="normalized"/></rdf:Description></rdf:li>
 <rdf:li rdf:parseType="Resource"><m:Name>focus</m:Name><m:Area rdf:parseType="Resource"><a:x>0.1</a:x><a:y>0.1</a:y>
  <a:unit>normalized</a:unit></m:Area></rdf:li>
 <rdf:li rdf:parseType="Resource"><m:Name>no numbers</m:Name><m:Area a:x="left" a:y="nan"/></rdf:li>
</rdf:Bag></m:RegionList></m:Regions>
<i:ImageRegion><rdf:Bag>
 <rdf:li rdf:parseType="Resource"><i:RegionBoundary i:rbShape="rectangle" i:rbUnit="relative" i:rbX="0.1" i:rbY="0.1"
  i:rbW="0.5" i:rbH="0.3"/></rdf:li>
 <rdf:li rdf:parseType="Resource"><i:RegionBoundary rdf:parseType="Resource"><i:rbShape>rectangle</i:rbShape>
  <i:rbUnit>pixel</i:rbUnit><i:rbX>12</i:rbX><i:rbY>8</i:rbY><i:rbW>60</i:rbW><i:rbH>24</i:rbH></i:RegionBoundary></rdf:li>
 <rdf:li rdf:parseType="Resource"><i:RegionBoundary rdf:parseType="Resource"><i:rbShape>polygon</i:rbShape>
  <i:rbUnit>pixel</i:rbUnit><i:rbVertices><rdf:Seq><rdf:li rdf:parseType="Resource"><i:rbX>12</i:rbX><i:rbY>8</i:rbY>
  </rdf:li><rdf:li i:rbX="72" i:rbY="32"/></rdf:Seq></i:rbVertices></i:RegionBoundary></rdf:li>
 <rdf:li rdf:parseType="Resource"><i:RegionBoundary i:rbShape="circle" i:rbUnit="relative" i:rbX="0.1" i:rbY="0.1"
  i:rbRx="0.2"/></rdf:li>
</rdf:Bag></i:ImageRegion>
<MP:RegionInfo rdf:parseType="Resource"><r:Regions><rdf:Bag><rdf:li g:Rectangle="0.1, 0.1, 0.5, 0.3"
 g:PersonDisplayName="Marie Curie"/></rdf:Bag></r:Regions></MP:RegionInfo></rdf:Description></rdf:RDF>"""


def upright(orientation: int) -> Image.Image:
    """The stored picture, white in BOX, as viewers show it."""
    pixels = np.zeros((STORED[1], STORED[0]), np.uint8)
    pixels[BOX[1] : BOX[1] + BOX[3], BOX[0] : BOX[0] + BOX[2]] = 255
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(image)


def moved(orientation: int, scale: int, folder: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """ExifTool's tags of the packet, the size of the restored picture, and the white box in it (x0, y0, x1, y1)."""
    picture = upright(orientation)
    size, box = np.array(picture.size) * scale, np.array(picture.getbbox()) * scale
    record = replace(RECORD, regions=[], width=int(size[0]), height=int(size[1]), scale=scale)
    path = folder / "packet.xmp"
    path.write_bytes(xmp_packet(PACKET, record, orientation))
    return tags(path), size, box


@pytest.mark.parametrize(("orientation", "scale"), [(1, 1), (1, 2), *((turn, 1) for turn in range(2, 9)), (6, 4)])
def test_regions_follow_the_pixels(orientation: int, scale: int, tmp_path: Path) -> None:
    found, size, box = moved(orientation, scale, tmp_path)
    relative = box / np.tile(size, 2)
    extent = relative[2:] - relative[:2]

    regions = found["XMP-mwg-rs:RegionInfo"]
    assert regions["AppliedToDimensions"] == {"W": size[0], "H": size[1], "Unit": "pixel"}
    area = regions["RegionList"][0]["Area"]
    np.testing.assert_allclose([area["X"], area["Y"]], (relative[:2] + relative[2:]) / 2, atol=1e-5)
    np.testing.assert_allclose([area["W"], area["H"]], extent, atol=1e-5)
    assert regions["RegionList"][0]["Name"] == "Marie Curie"

    rectangles = [region["RegionBoundary"] for region in found["XMP-iptcExt:ImageRegion"]]
    for rectangle, expected in zip(
        rectangles[:2], ([*relative[:2], *extent], [*box[:2], *(box[2:] - box[:2])]), strict=True
    ):
        np.testing.assert_allclose([rectangle[name] for name in ("RbX", "RbY", "RbW", "RbH")], expected, atol=1e-4)
    corners = [(vertex["RbX"], vertex["RbY"]) for vertex in rectangles[2]["RbVertices"]]
    np.testing.assert_allclose(np.sort(corners, axis=0).ravel(), box, atol=1e-4)

    microsoft = found["XMP-MP:RegionInfoMP"]["Regions"][0]
    np.testing.assert_allclose(list(map(float, microsoft["Rectangle"].split(","))), [*relative[:2], *extent], atol=1e-5)


def test_points_circles_and_what_is_no_number(tmp_path: Path) -> None:
    found, size, _ = moved(6, 2, tmp_path)
    _, point, broken = found["XMP-mwg-rs:RegionInfo"]["RegionList"]
    assert (point["Area"]["X"], point["Area"]["Y"], "W" in point["Area"]) == (0.9, 0.1, False)
    assert (broken["Area"]["X"], broken["Area"]["Y"]) == ("left", "nan")
    circle = found["XMP-iptcExt:ImageRegion"][3]["RegionBoundary"]
    assert (circle["RbX"], circle["RbY"]) == (0.9, 0.1)
    assert circle["RbRx"] * size[0] == pytest.approx(2 * 0.2 * STORED[0])  # the same in the picture, now twice as large


def test_without_a_turn_nothing_is_rewritten() -> None:
    record = replace(RECORD, regions=[], width=STORED[0], height=STORED[1])
    text = xmp_packet(PACKET, record).decode()
    assert 'a:x="0.35"' in text and "<i:rbX>12</i:rbX>" in text and 'g:Rectangle="0.1, 0.1, 0.5, 0.3"' in text
