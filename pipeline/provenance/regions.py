"""Image regions in XMP: add the restored faces, and move the source's regions with the pixels.

Three schemas are in use: IPTC Photo Metadata Standard 2019.1 and later (Image Region), Metadata Working Group 2.0
(section 5.9) and Microsoft's people tags. All describe the stored picture. So their numbers change when the EXIF
orientation is applied to the pixels (MWG 2.0, section 5.4) or the picture is enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.provenance.rdf import Element, append_to_array, field, items, set_value, value
from pipeline.provenance.xmp import Packet

Box = tuple[float, ...]  # x0, y0, x1, y1 in px
Sides = tuple[float, float, float, float]

HUMAN = "http://cv.iptc.org/newscodes/imageregiontype/human"
DESCRIPTION = "restored"

# EXIF 2.32, tag Orientation: maps the point (x, y) of the stored picture, as fractions, to the upright picture.
UPRIGHT: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}


@dataclass(frozen=True)
class Placed:
    """From the stored source to the restored picture: the orientation applied (1 to 8), then enlarged by scale.

    width, height: of the restored picture, px.
    """

    width: int
    height: int
    orientation: int = 1
    scale: int = 1

    @property
    def turned(self) -> bool:
        """Whether width and height are swapped."""
        return self.orientation >= 5

    @property
    def stored(self) -> tuple[float, float]:
        """Width and height of the stored source, px."""
        width, height = self.width / self.scale, self.height / self.scale
        return (height, width) if self.turned else (width, height)

    def box(self, x0: float, y0: float, x1: float, y1: float, pixels: bool = False) -> Sides:
        """Where a box of the stored picture is in the restored one, in px or as fractions of width and height."""
        across, down = self.stored if pixels else (1.0, 1.0)
        to_across, to_down = (self.width, self.height) if pixels else (1, 1)
        corners = [UPRIGHT[self.orientation](x / across, y / down) for x, y in ((x0, y0), (x1, y1))]
        xs, ys = sorted(x * to_across for x, _ in corners), sorted(y * to_down for _, y in corners)
        return xs[0], ys[0], xs[1], ys[1]


def move_regions(packet: Packet, placed: Placed) -> None:
    """Move the regions in a packet to their place in the restored picture."""
    if (placed.orientation, placed.scale) != (1, 1):
        move_iptc(packet, placed)
        move_mwg(packet, placed)
        move_microsoft(packet, placed)


def add_iptc(packet: Packet, boxes: Sequence[Box], placed: Placed) -> None:
    """Add an Image Region of type human for each box (px of the restored picture)."""
    regions = [iptc_region(*inside(box, placed)) for box in boxes]
    packet.append("Iptc4xmpExt:ImageRegion", "rdf:Bag", regions)


def add_mwg(packet: Packet, boxes: Sequence[Box], placed: Placed) -> None:
    """Add a region of type Face for each box (px of the restored picture)."""
    regions = [mwg_region(*inside(box, placed)) for box in boxes]
    known = packet.property("mwg-rs:Regions")
    listed = None if known is None else field(known, "mwg-rs:RegionList")
    if listed is not None:
        append_to_array(listed, "rdf:Bag", regions)
        return
    packet.take("mwg-rs:Regions")
    packet.add(
        f'<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="{placed.width}" '
        f'stDim:h="{placed.height}" stDim:unit="pixel"/><mwg-rs:RegionList><rdf:Bag>{"".join(regions)}</rdf:Bag>'
        "</mwg-rs:RegionList></mwg-rs:Regions>"
    )


def inside(box: Box, placed: Placed) -> Sides:
    """The part of a box that is inside the picture, as fractions of width and height."""
    x0, x1 = (min(max(edge / placed.width, 0), 1) for edge in (box[0], box[2]))
    y0, y1 = (min(max(edge / placed.height, 0), 1) for edge in (box[1], box[3]))
    return x0, y0, x1, y1


def iptc_region(x0: float, y0: float, x1: float, y1: float) -> str:
    shape = 'Iptc4xmpExt:rbShape="rectangle" Iptc4xmpExt:rbUnit="relative"'
    corner = f'Iptc4xmpExt:rbX="{x0:.5f}" Iptc4xmpExt:rbY="{y0:.5f}"'
    size = f'Iptc4xmpExt:rbW="{x1 - x0:.5f}" Iptc4xmpExt:rbH="{y1 - y0:.5f}"'
    name = f'<rdf:Alt><rdf:li xml:lang="x-default">{DESCRIPTION}</rdf:li></rdf:Alt>'
    kind = f"<xmp:Identifier><rdf:Bag><rdf:li>{HUMAN}</rdf:li></rdf:Bag></xmp:Identifier>"
    return (
        f'<rdf:li rdf:parseType="Resource"><Iptc4xmpExt:RegionBoundary {shape} {corner} {size}/>'
        f"<Iptc4xmpExt:Name>{name}</Iptc4xmpExt:Name><Iptc4xmpExt:rCtype><rdf:Bag>"
        f'<rdf:li rdf:parseType="Resource">{kind}</rdf:li></rdf:Bag></Iptc4xmpExt:rCtype></rdf:li>'
    )


def mwg_region(x0: float, y0: float, x1: float, y1: float) -> str:
    centre = f'stArea:x="{(x0 + x1) / 2:.5f}" stArea:y="{(y0 + y1) / 2:.5f}"'
    size = f'stArea:w="{x1 - x0:.5f}" stArea:h="{y1 - y0:.5f}"'
    return (
        f'<rdf:li><rdf:Description mwg-rs:Type="Face" mwg-rs:Description="{DESCRIPTION}">'
        f'<mwg-rs:Area {centre} {size} stArea:unit="normalized"/></rdf:Description></rdf:li>'
    )


def move_iptc(packet: Packet, placed: Placed) -> None:
    names = [f"Iptc4xmpExt:{name}" for name in ("rbX", "rbY", "rbW", "rbH", "rbRx")]
    for region in items(packet.property("Iptc4xmpExt:ImageRegion")):
        boundary = field(region, "Iptc4xmpExt:RegionBoundary")
        if boundary is None:
            continue
        pixels = value(boundary, "Iptc4xmpExt:rbUnit") == "pixel"
        if rectangle := numbers(boundary, *names[:4]):
            x, y, width, height = rectangle
            x0, y0, x1, y1 = placed.box(x, y, x + width, y + height, pixels)
            write_numbers(boundary, names, (x0, y0, x1 - x0, y1 - y0))
        elif circle := numbers(boundary, names[0], names[1], names[4]):
            x, y, radius = circle  # a relative radius is a fraction of the width
            longer = placed.scale if pixels else placed.scale * placed.stored[0] / placed.width
            write_numbers(boundary, (*names[:2], names[4]), (*placed.box(x, y, x, y, pixels)[:2], radius * longer))
        for vertex in items(field(boundary, "Iptc4xmpExt:rbVertices")):
            if point := numbers(vertex, *names[:2]):
                x, y = point
                write_numbers(vertex, names, placed.box(x, y, x, y, pixels)[:2])


def move_mwg(packet: Packet, placed: Placed) -> None:
    known = packet.property("mwg-rs:Regions")
    if known is None:
        return
    if (applied := field(known, "mwg-rs:AppliedToDimensions")) is not None:
        set_value(applied, "stDim:w", placed.width)
        set_value(applied, "stDim:h", placed.height)
    for region in items(field(known, "mwg-rs:RegionList")):
        area = field(region, "mwg-rs:Area")
        if area is None or (point := numbers(area, "stArea:x", "stArea:y")) is None:
            continue
        x, y = point
        width, height = numbers(area, "stArea:w", "stArea:h") or (0, 0)  # a point or a circle has no size
        x0, y0, x1, y1 = placed.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        write_numbers(area, ("stArea:x", "stArea:y"), ((x0 + x1) / 2, (y0 + y1) / 2))
        if width or height:
            write_numbers(area, ("stArea:w", "stArea:h"), (x1 - x0, y1 - y0))


def move_microsoft(packet: Packet, placed: Placed) -> None:
    """MPReg:Rectangle is "left, top, width, height", as fractions of width and height."""
    known = packet.property("MP:RegionInfo")
    for region in items(None if known is None else field(known, "MPRI:Regions")):
        try:
            x, y, width, height = map(float, (value(region, "MPReg:Rectangle") or "").split(","))
        except ValueError:
            continue
        if not all(map(math.isfinite, (x, y, width, height))):
            continue
        x0, y0, x1, y1 = placed.box(x, y, x + width, y + height)
        set_value(region, "MPReg:Rectangle", ", ".join(f"{number:.6f}" for number in (x0, y0, x1 - x0, y1 - y0)))


def numbers(node: Element, *names: str) -> list[float] | None:
    """Fields as numbers; None if one is missing or not a number, so that the region cannot be moved."""
    try:
        found = [float(value(node, name) or "") for name in names]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def write_numbers(node: Element, names: Iterable[str], found: Iterable[float]) -> None:
    for name, number in zip(names, found, strict=False):
        set_value(node, name, f"{number:.6f}")
