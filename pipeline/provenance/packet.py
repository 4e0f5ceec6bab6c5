"""What a restored file says about itself: where it comes from, that a model changed it, where and with what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pipeline.provenance.record import DIGITAL_SOURCE_TYPE, Provenance
from pipeline.provenance.regions import Box, Placed, add_iptc, add_mwg, move_regions
from pipeline.provenance.xmp import Packet, XmpError, escaped

# Bytes of a packet that a format takes. One JPEG segment has 65,502 (XMP part 3, section 1.1.3), but libvips leaves out
# what is longer than this. In the other formats length is no problem.
PACKET_BYTES = {"jpeg": 60_000}

# Properties of the source's packet that are not true of the restored file: a picture of the old faces; the parts of a
# packet in other JPEG segments, which are not carried over.
UNTRUE = ("xmp:Thumbnails", "xmpNote:HasExtendedXMP")
# Those that are true of the source, and where its value is kept.
REPLACED = {"Iptc4xmpExt:DigitalSourceType": "DigitalSourceType", "dcterms:provenance": "Manifest"}

Schemas = tuple[Callable[[Packet, Sequence[Box], Placed], None], ...]
MWG: Schemas = (add_mwg,)
BOTH: Schemas = (add_mwg, add_iptc)


def xmp_packet(existing: bytes | None, record: Provenance, orientation: int = 1, format: str = "") -> bytes:
    """The packet of a restored file: UTF-8, wrapped, without padding, the same for the same input.

    What stands in the source's packet is kept, but for `UNTRUE`; what is replaced (digital source type, the address of
    a C2PA manifest) is kept in the own namespace. Regions follow the pixels: `orientation` (EXIF, 1 to 8) is the one
    that was applied to them. A packet that is broken or hostile is left out: `SourcePacket` then says so, and the
    source still has it.

    Where this is longer than `format` takes, the first of these that helps: without the IPTC regions (those of MWG say
    the same), without regions, without the source's packet.
    """
    limit = PACKET_BYTES.get(format, math.inf)
    too_long = f"left out: with it more than {limit} bytes, the limit of {format}"
    data = b""
    for problem, schemas in ((None, BOTH), (None, MWG), (None, ()), (too_long, MWG), (too_long, ())):
        data = written(existing, record, orientation, problem, schemas)
        if len(data) <= limit:
            break
    return data


def written(
    existing: bytes | None, record: Provenance, orientation: int, problem: str | None, schemas: Schemas
) -> bytes:
    packet = Packet()
    if existing and not problem:
        try:
            packet = Packet(existing)
        except XmpError as error:
            problem = f"left out: {error}"
    state(packet, record, problem)
    mirror_header(packet, record)
    add_history(packet, record)
    placed = Placed(record.width, record.height, orientation, record.scale)
    move_regions(packet, placed)
    for add in schemas if record.regions else ():
        add(packet, record.regions, placed)
    return packet.to_bytes()


def state(packet: Packet, record: Provenance, problem: str | None) -> None:
    """Say what the file is, and keep what stood there before."""
    before = {f"Source{own}": packet.take(name) for name, own in REPLACED.items()}
    for name in UNTRUE:
        packet.take(name)
    packet.replace("Iptc4xmpExt:DigitalSourceType", DIGITAL_SOURCE_TYPE)
    for name, text in (record.statement() | before | {"SourcePacket": problem}).items():
        if text is not None:
            packet.replace(f"interlcm:{name}", text)


def mirror_header(packet: Packet, record: Provenance) -> None:
    """Make what a packet repeats from TIFF and EXIF headers true of the restored file, which is upright."""
    width, height = record.width, record.height
    now = {"tiff:Orientation": 1, "tiff:ImageWidth": width, "tiff:ImageLength": height}
    now |= {"exif:PixelXDimension": width, "exif:PixelYDimension": height}
    for name, text in now.items():
        if packet.take(name) is not None:
            packet.replace(name, text)


def add_history(packet: Packet, record: Provenance) -> None:
    """A new instance of the same document, and the event that made it.

    The event has no time, so that the same photo restored again gives the same bytes; the manifest has the time.
    """
    packet.replace("xmpMM:InstanceID", record.instance)
    parameters = f"task {record.task}, {len(record.regions)} faces, weights {record.weights_digest}"
    event = (
        '<rdf:li rdf:parseType="Resource"><stEvt:action>edited</stEvt:action>'
        f"<stEvt:instanceID>{record.instance}</stEvt:instanceID>"
        f"<stEvt:softwareAgent>InterLCM {escaped(record.software_version)}</stEvt:softwareAgent>"
        f"<stEvt:parameters>{escaped(parameters)}</stEvt:parameters></rdf:li>"
    )
    packet.append("xmpMM:History", "rdf:Seq", [event])
