"""Files with metadata."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, PngImagePlugin

from tests.support import icc
from tests.support.picture_files import PIXELS, by_opencv, file

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
OTHER_XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='other'/>"
# Records 2:105 (headline) and 2:25 (keyword) of IPTC's IIM, 4.2.
IPTC = b"\x1c\x02\x69\x00\x04Head" + b"\x1c\x02\x19\x00\x03one"
MAKER = b"Maker\0\1\2\3" * 3
PROFILE = icc.adobe_rgb()


def exif(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[0x010E] = "Class of 1927"  # ImageDescription
    block[0x0112] = orientation
    block[0x013B] = "A. Photographer"  # Artist
    inner = block.get_ifd(0x8769)
    inner[0x9003] = "1927:10:29 11:00:00"  # DateTimeOriginal
    inner[0x927C] = MAKER
    inner[0xA002], inner[0xA003] = 128, 96  # PixelXDimension, PixelYDimension
    inner[0xFDE8] = "unknown to libexif"
    block.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    return block


def photoshop(record: bytes, thumbnail: bytes = b"") -> bytes:
    """Image resources with a caption digest, a thumbnail and IPTC."""
    parts = [(1061, bytes(16)), (1036, thumbnail), (1028, record)]
    return b"Photoshop 3.0\0" + b"".join(
        b"8BIM" + struct.pack(">HHI", n, 0, len(body)) + body + bytes(len(body) % 2) for n, body in parts
    )


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + body))
    return png[:33] + struct.pack(">I", len(body)) + name + body + crc + png[33:]


def with_box(jp2: bytes, name: bytes, body: bytes) -> bytes:
    at = jp2.index(b"jp2c") - 4
    return jp2[:at] + struct.pack(">I", 8 + len(body)) + name + body + jp2[at:]


def source(format: str) -> bytes:
    """A file with all the metadata that its format can hold: EXIF, XMP, IPTC, a profile and 300 dpi."""
    block, dpi = exif(), (300, 300)
    if format == "jpeg":
        data = file("jpeg", quality=95, exif=block, dpi=dpi, icc_profile=PROFILE, xmp=XMP, comment=b"a comment")
        return with_segment(data, 0xED, photoshop(IPTC))
    if format == "png":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", "somebody")
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = file("png", exif=block, dpi=dpi, icc_profile=PROFILE, pnginfo=texts)
        record = b"8BIM" + struct.pack(">HHI", 1028, 0, len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
        text = b"\niptc\n%8d\n%s\n" % (len(record), record.hex().encode())
        return with_chunk(data, b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text))
    if format == "tiff":
        stream = io.BytesIO()
        for tag, value in ((700, XMP), (33723, IPTC), (37724, b"layers"), (285, "leaf 3")):
            block[tag] = value
        Image.fromarray(PIXELS).save(stream, "tiff", exif=block.tobytes(), dpi=dpi, icc_profile=PROFILE)
        return stream.getvalue()
    if format == "jp2":
        data = by_opencv(".jp2", PIXELS)
        for name, uuid in ((XMP, "be7acfcb97a942e89c71999491e3afac"), (IPTC, "33c7a4d2b81d4723a0baf1a3e097ad38")):
            data = with_box(data, b"uuid", bytes.fromhex(uuid) + name)
        data = with_box(data, b"uuid", b"JpgTiffExif->JP2" + block.tobytes()[6:])
        colr = struct.pack(">I4sBBB", 15 + len(PROFILE) - 4, b"colr", 2, 0, 0) + PROFILE
        resolution = struct.pack(">I4sHHHHbb", 18, b"resc", 11811, 1, 11811, 1, 0, 0)
        extra = colr + struct.pack(">I4s", 26, b"res ") + resolution
        at = data.index(b"colr") - 4
        old = int.from_bytes(data[at : at + 4], "big")
        data = data[:at] + extra + data[at + old :]
        head = data.index(b"jp2h") - 4
        size = int.from_bytes(data[head : head + 4], "big") + len(extra) - old
        return data[:head] + struct.pack(">I", size) + data[head + 4 :]
    block[0x011A], block[0x011B], block[0x0128] = 300.0, 300.0, 2
    return file(format, quality=95, exif=block, icc_profile=PROFILE, xmp=XMP)
