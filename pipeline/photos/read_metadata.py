"""Read a file's metadata from its segments, chunks and fields, because decoders return only some of them."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from hashlib import md5

import pyvips

from pipeline.photos import image_resources
from pipeline.photos.container import (
    APP0,
    APP1,
    APP13,
    COMMENT,
    EXIF_MARK,
    EXTENSION_MARK,
    XMP_MARK,
    jpeg_segments,
    png_chunks,
)
from pipeline.photos.metadata import (
    COLOUR_CHUNKS,
    DESCRIPTIVE,
    INCH,
    Metadata,
    block_of,
    descriptive,
    dpi_of,
    exif_block,
    fields_of,
    whole_dpi,
)
from pipeline.photos.tiff import EXIF, GPS, IPTC, Tiff, classic

ICC, XMP, RESOURCES = 34675, 700, 34377  # TIFF tags
# Fields about the structure of a TIFF, which the output has itself, and Photoshop's layers, which show the old faces.
STRUCTURE = {
    *(*range(254, 269), *range(273, 285), *range(288, 294), 296, 301, 317, *range(320, 348), *range(512, 522)),
    *(*range(529, 533), 37724, ICC, XMP, RESOURCES, IPTC, EXIF, GPS, 50341, 59932, 59933),
}
# The property in the first part of a packet with the digest of the second.
EXTENDED = re.compile(rb"HasExtendedXMP\s*(?:=\s*[\"']|>)\s*([0-9A-Fa-f]{32})")
# JPEG segments that the output writes itself or that are carried over; a warning names all others.
KNOWN_SEGMENTS = (
    *(b"JFIF\0", b"JFXX\0", EXIF_MARK, XMP_MARK, EXTENSION_MARK, b"ICC_PROFILE\0", b"MPF\0", b"Adobe", b"Ducky"),
    image_resources.MARK,
)

TEXTS = (b"tEXt", b"zTXt", b"iTXt")
CHANGED = b"tIME"
# Chunks about the structure or display of a PNG, frames of an animation, and ImageMagick's canvas.
KNOWN_CHUNKS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"sPLT", b"pHYs", b"eXIf"),
    *(b"acTL", b"fcTL", b"fdAT", b"mDCV", b"cLLI", b"vpAg", b"caNv", b"orNT"),
}
PNG_XMP = b"XML:com.adobe.xmp\0"
RAW_PROFILE = b"Raw profile type "  # ImageMagick's and ExifTool's hexadecimal text for data that had no PNG chunk
DAMAGED_EXIF = "EXIF, which is damaged"
TEXT_BYTES = 16 << 20  # most bytes of an inflated chunk


def of_image(data: bytes, image: pyvips.Image, format: str) -> Metadata:
    """The metadata of a file that libvips opened, without invalid parts."""
    if format == "tiff":
        return of_tiff(data)
    if format == "jpeg":
        return of_jpeg(data)
    if format == "png":
        return of_png(data)
    exif = exif_block(_blob(image, "exif-data"))
    return Metadata(exif, _blob(image, "xmp-data"), None, dpi_of(fields_of(exif)))


def of_jpeg(data: bytes) -> Metadata:
    segments = list(jpeg_segments(data))
    exif = exif_block(_first(segments, APP1, EXIF_MARK))
    xmp = _first(segments, APP1, XMP_MARK)
    extended, problem = _extended(segments, xmp or b"")
    marked = [body for marker, body in segments if marker == APP13 and body.startswith(image_resources.MARK)]
    resources = b"".join(body[len(image_resources.MARK) :] for body in marked)  # one list may span several segments
    strange = {f"segment APP{marker - APP0} {_name(body)}" for marker, body in segments if _is_strange(marker, body)}
    strange |= {DAMAGED_EXIF} if _first(segments, APP1, EXIF_MARK) and not exif else set()
    strange |= {problem} if problem else set()
    return Metadata(
        exif=exif,
        xmp=xmp,
        iptc=image_resources.iptc_of(resources),
        dpi=_jfif(segments) or dpi_of(fields_of(exif)),
        notes=tuple((b"COM", body) for marker, body in segments if marker == COMMENT),
        extended_xmp=extended,
        resources=resources or None,
        left_out=tuple(sorted(strange)),
    )


def of_png(data: bytes) -> Metadata:
    """The metadata in the chunks before and after the pixels."""
    found = Metadata()
    profiles: dict[str, bytes] = {}
    strange: set[str] = set()
    for name, body in png_chunks(data):
        if name == b"pHYs" and len(body) == 9 and body[8] == 1:  # per metre
            across, down = struct.unpack_from(">II", body)
            dpi = (whole_dpi(across), whole_dpi(down)) if across and down else found.dpi
            found = replace(found, dpi=dpi)
        elif name == b"eXIf":
            found = replace(found, exif=found.exif or exif_block(body))
        elif name == b"iTXt" and body.startswith(PNG_XMP):
            found = replace(found, xmp=found.xmp or _text(name, body))
        elif name in TEXTS and body.startswith(RAW_PROFILE):
            kind = body[len(RAW_PROFILE) :].partition(b"\0")[0].decode("latin-1").lower()
            if kind not in profiles:
                profiles[kind] = from_raw_profile(_text(name, body))
        elif name in COLOUR_CHUNKS or name in TEXTS or name == CHANGED:
            found = replace(found, notes=(*found.notes, (name, body)))
        elif name == b"acTL" and int.from_bytes(body[:4], "big") > 1:
            strange.add(f"{int.from_bytes(body[:4], 'big') - 1} further frames")
        elif name not in KNOWN_CHUNKS:
            strange.add(f"chunk {name.decode('latin-1')!r}")
    broken = any(name == b"eXIf" for name, _ in png_chunks(data)) and not found.exif
    strange |= {DAMAGED_EXIF} if broken else set()
    return _with_profiles(replace(found, left_out=(*found.left_out, *sorted(strange))), profiles)


def _with_profiles(found: Metadata, profiles: dict[str, bytes]) -> Metadata:
    """Add ImageMagick's and ExifTool's raw profiles for what the regular chunks lack."""
    app1 = profiles.get("app1", b"")
    exif = found.exif or exif_block(profiles.get("exif")) or exif_block(app1)
    xmp = found.xmp or profiles.get("xmp") or (app1[len(XMP_MARK) :] if app1.startswith(XMP_MARK) else None)
    both = [profiles.get(kind, b"") for kind in ("8bim", "iptc")]
    resources = b"".join(one.removeprefix(image_resources.MARK) for one in both if _is_resource(one))
    bare = profiles.get("iptc")  # ImageMagick writes the record itself, ExifTool a resource
    iptc = image_resources.iptc_of(resources) or (None if _is_resource(bare) else bare)
    dpi = found.dpi or dpi_of(fields_of(exif))
    known = ("exif", "app1", "xmp", "8bim", "iptc")
    left_out = (*found.left_out, *(f"raw profile {kind}" for kind in profiles if kind not in known))
    return replace(
        found, exif=exif, xmp=xmp, iptc=iptc or None, resources=resources or None, dpi=dpi, left_out=left_out
    )


def of_tiff(data: bytes) -> Metadata:
    source = Tiff(data)
    fields = source.read(source.chain(1)[0])
    resources = fields[RESOURCES].value if RESOURCES in fields else b""
    iptc = fields[IPTC].value if IPTC in fields else image_resources.iptc_of(resources)
    xmp = fields[XMP].value if XMP in fields else None
    strange = sorted(fields.keys() - STRUCTURE - set(DESCRIPTIVE))
    left_out = [f"TIFF fields {', '.join(map(str, strange))}"] if strange else []
    kept, lost = classic(descriptive(fields))
    left_out += [f"TIFF field {tag}, a number of more than 32 bits" for tag in lost]
    exif = block_of(kept)
    return Metadata(exif, xmp, iptc, dpi_of(fields), resources=resources or None, left_out=tuple(left_out))


def _first(segments: list[tuple[int, bytes]], wanted: int, mark: bytes) -> bytes | None:
    return next((body[len(mark) :] for marker, body in segments if marker == wanted and body.startswith(mark)), None)


def _extended(segments: list[tuple[int, bytes]], packet: bytes) -> tuple[bytes | None, str | None]:
    """The second part of a packet, and the fault if it is damaged."""
    named = EXTENDED.search(packet)
    if not named:
        return None, None
    parts: dict[int, bytes] = {}
    start = len(EXTENSION_MARK)
    for marker, body in segments:
        if marker == APP1 and body.startswith(EXTENSION_MARK + named[1]) and len(body) > start + 40:
            parts[int.from_bytes(body[start + 36 : start + 40], "big")] = body[start + 40 :]
    whole = b"".join(parts[place] for place in sorted(parts))
    if md5(whole, usedforsecurity=False).hexdigest().upper() != named[1].decode().upper():
        return None, "extended XMP, which is damaged"
    return whole, None


def _is_strange(marker: int, body: bytes) -> bool:
    return APP0 <= marker < APP0 + 16 and not body.startswith(KNOWN_SEGMENTS)


def _name(body: bytes) -> str:
    """The name of a segment."""
    found = re.match(rb"[\x21-\x7e]{2,20}", body)
    return found[0].decode() if found else "without a name"


def _jfif(segments: list[tuple[int, bytes]]) -> tuple[float, float] | None:
    head = next((body for marker, body in segments if marker == APP0 and body[:5] == b"JFIF\0"), b"")
    if len(head) < 12 or head[7] not in (1, 2):  # per inch, per centimetre
        return None
    across, down = struct.unpack_from(">HH", head, 8)
    scale = 1.0 if head[7] == 1 else INCH
    return (across * scale, down * scale) if across and down else None


def _text(name: bytes, body: bytes) -> bytes:
    """The content of a text chunk (PNG, section 11.3.3); empty if it is damaged."""
    rest = body.partition(b"\0")[2]
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        rest = rest[1:]
    if not packed:
        return rest
    try:
        return zlib.decompressobj().decompress(rest, TEXT_BYTES)
    except zlib.error:
        return b""


def from_raw_profile(text: bytes) -> bytes:
    """The bytes in a raw profile, which is a line with its name, one with its length, then hexadecimal digits."""
    lines = text.decode("latin-1").strip("\n").split("\n", 2)
    try:
        return bytes.fromhex("".join(lines[2].split()))[: int(lines[1])]
    except (ValueError, IndexError):
        return b""


def raw_profile(record: bytes) -> bytes:
    """The text of a raw profile with this IPTC record."""
    digits = record.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return "\n".join(["", "iptc", f"{len(record):8d}", *lines, ""]).encode()


def _is_resource(profile: bytes | None) -> bool:
    return (profile or b"").startswith((b"8BIM", image_resources.MARK))


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    return bytes(image.get(name)) if image.get_typeof(name) else None
