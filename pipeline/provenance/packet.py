"""The XMP packet of a restored file: its source, what changed it, and which regions a model restored."""

from __future__ import annotations

from pipeline.provenance.extended import merged
from pipeline.provenance.rdf import escaped
from pipeline.provenance.record import DIGITAL_SOURCE_TYPE, Provenance
from pipeline.provenance.regions import Placed, add_iptc, add_mwg, move_regions
from pipeline.provenance.xmp import Packet, XmpError

# Properties of the source's packet that are wrong for the restored file: a thumbnail of the old faces, and the digest
# of the packet's second part.
UNTRUE = ("xmp:Thumbnails", "xmpNote:HasExtendedXMP")
# Properties with a new value in the restored file, and the own property that keeps the source's value.
REPLACED = {"Iptc4xmpExt:DigitalSourceType": "DigitalSourceType", "dcterms:provenance": "Manifest"}


def xmp_packet(
    existing: bytes | None, record: Provenance, orientation: int = 1, extended: bytes | None = None
) -> bytes:
    """The packet of a restored file: UTF-8, wrapped, without padding, the same for the same input.

    The properties of the source's packet and of `extended`, its second part in a JPEG, are kept, except `UNTRUE`.
    Replaced values (digital source type, the address of a C2PA manifest) are kept in the own namespace. Regions are
    moved with the pixels: `orientation` (EXIF, 1 to 8) is the one that was applied to the pixels. A broken or hostile
    packet is left out, and `SourcePacket` says so.
    """
    packet, problem = source_packet(existing, extended)
    state(packet, record, problem)
    mirror_header(packet, record)
    add_history(packet, record)
    placed = Placed(record.width, record.height, orientation, record.scale)
    move_regions(packet, placed)
    if record.regions:
        add_mwg(packet, record.regions, placed)
        add_iptc(packet, record.regions, placed)
    return packet.to_bytes()


def source_packet(existing: bytes | None, extended: bytes | None = None) -> tuple[Packet, str | None]:
    """The source's packet to start from, and why it or its second part was left out, if so."""
    packet = Packet()
    try:
        packet = Packet(existing) if existing else packet
        return merged(packet, extended) if extended else packet, None
    except XmpError as error:
        return packet, f"left out: {error}"


def state(packet: Packet, record: Provenance, problem: str | None) -> None:
    """State what the file is, and keep the values that this replaces."""
    before = {f"Source{own}": packet.take(name) for name, own in REPLACED.items()}
    for name in UNTRUE:
        packet.take(name)
    if record.composite:
        packet.replace("Iptc4xmpExt:DigitalSourceType", DIGITAL_SOURCE_TYPE)
    elif (kept := before.pop("SourceDigitalSourceType")) is not None:
        packet.replace("Iptc4xmpExt:DigitalSourceType", kept)
    for name, text in (record.statement() | before | {"SourcePacket": problem}).items():
        if text is not None:
            packet.replace(f"interlcm:{name}", text)


def mirror_header(packet: Packet, record: Provenance) -> None:
    """Update the properties that repeat TIFF and EXIF headers, for the restored file, which is upright."""
    width, height = record.width, record.height
    now = {"tiff:Orientation": 1, "tiff:ImageWidth": width, "tiff:ImageLength": height}
    now |= {"exif:PixelXDimension": width, "exif:PixelYDimension": height}
    for name, text in now.items():
        if packet.take(name) is not None:
            packet.replace(name, text)


def add_history(packet: Packet, record: Provenance) -> None:
    """Add a new instance of the same document, and the event that made it.

    The event has no time, so that restoring the same photo again gives the same bytes; the manifest has the time.
    """
    packet.replace("xmpMM:InstanceID", record.instance)
    parameters = f"task {record.task}, restored faces {len(record.regions)}, weights {record.weights_digest}"
    event = (
        '<rdf:li rdf:parseType="Resource"><stEvt:action>edited</stEvt:action>'
        f"<stEvt:instanceID>{record.instance}</stEvt:instanceID>"
        f"<stEvt:softwareAgent>InterLCM {escaped(record.software_version)}</stEvt:softwareAgent>"
        f"<stEvt:parameters>{escaped(parameters)}</stEvt:parameters></rdf:li>"
    )
    packet.append("xmpMM:History", "rdf:Seq", [event])
