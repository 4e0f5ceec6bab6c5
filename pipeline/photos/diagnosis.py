"""Why bytes did not decode: a different format, cut off or damaged. Looks only at the content, not at the name."""

from __future__ import annotations

import struct

from pipeline.photos import heic, tiff, tiff_pages
from pipeline.photos.bmp import is_bmp
from pipeline.photos.jpeg2000 import boxes_end, is_jpeg2000
from pipeline.photos.tiff_pages import DATA

# First bytes of image formats that are not decoded.
UNSUPPORTED = {
    b"II\xbc": "JPEG XR",
    b"8BPS": "Photoshop",
    b"gimp xcf": "GIMP",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"FUJIFILMCCD-RAW": "Fujifilm raw",
    b"IIRO": "Olympus raw",
    b"IIU\0": "Panasonic raw",
}
# Brands of an ISO base media file (ISO/IEC 14496-12, 4.3; 23008-12, annex B) that announce a picture coded otherwise
# than AVIF and HEIC, which are decoded.
BRANDS = {b"crx ": "Canon raw", b"avci": "HEIF with AVC", b"j2ki": "HEIF with JPEG 2000", b"vvic": "HEIF with VVC"}

# How a macOS archive keeps a file's extended attributes: "._a.jpg" beside "a.jpg" (RFC 1740).
APPLE_DOUBLE = b"\0\x05\x16\x07"

# Words in decoders' messages about kinds that they do not read.
NOT_DECODED = ("not supported", "not configured", "nsupported")
# Words in libvips' and OpenCV's messages about failed allocations.
OUT_OF_MEMORY = ("out of memory", "Insufficient memory", "Failed to allocate")


def diagnose(data: bytes, reason: str) -> tuple[str, str]:
    """(error_type, message) for data that did not decode. reason: the decoder's message, of any length."""
    foreign = _foreign(data)
    if foreign and foreign.lower().endswith(" raw"):
        words = f"{foreign} files are not decoded: develop the file to TIFF or PNG, or give --raw preview"
        return "unsupported_format", words
    if foreign:
        return "unsupported_format", f"{foreign} files are not decoded: convert the file to TIFF or PNG"
    if any(words in reason for words in OUT_OF_MEMORY):
        return "out_of_memory", "decoding needs more memory than the limit"
    format = _magic(data)
    if format is None and "not in a known format" in reason:
        return "not_an_image", "the content is not in an image format that is decoded here"
    if format is not None and (tiff.BEYOND in reason or _cut_off(data, format)):
        return "truncated", f"the {format} file is cut off or damaged: its end is missing after {len(data):,} bytes"
    # libvips appends messages: the last line belongs to this call.
    last = [line.strip() for line in reason.splitlines() if line.strip()][-1]
    if any(words in last for words in NOT_DECODED):
        kind = f"this kind of {format or 'image'} file is not decoded ({last})"
        return "unsupported_format", f"{kind}: convert it to an uncompressed TIFF or a PNG"
    return "decode_error", f"the {format or 'image'} file cannot be decoded: {last}"


def is_raw(data: bytes) -> bool:
    """Whether this is a camera's raw file."""
    return (_foreign(data) or "").lower().endswith(" raw")


def _foreign(data: bytes) -> str | None:
    """The name of an image format that is not decoded; None for other data."""
    if data[4:8] == b"ftyp":
        return next((BRANDS[brand] for brand in heic.brands(data) if brand in BRANDS), None)
    if tiff_pages.is_camera_raw(data):
        return "Camera raw"
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n" and data[3:4] in b"#0123456789":
        return "Netpbm"
    return next((name for start, name in UNSUPPORTED.items() if data.startswith(start)), None)


def _magic(data: bytes) -> str | None:
    """The format that the first bytes announce, if it is one whose end can be checked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if is_bmp(data):
        return "bmp"
    if data.startswith((b"\0\0\0\x0cJXL ", b"\xff\x0a")):
        return "jxl"
    if is_jpeg2000(data):
        return "jp2"
    if tiff.is_tiff(data):
        return "tiff"
    if data[4:8] == b"ftyp":
        return "heic" if heic.is_heic(data) else "avif"
    starts = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif"}
    return next((format for start, format in starts.items() if data.startswith(start)), None)


def _cut_off(data: bytes, format: str) -> bool:
    """Whether an unreadable file lacks its end, by its end marker, its stated length, or the end of its data."""
    try:
        if format == "webp":  # RIFF: the length of what follows the first 8 bytes
            return int(struct.unpack_from("<I", data, 4)[0]) + 8 > len(data)
        if format == "bmp":
            return int(struct.unpack_from("<I", data, 2)[0]) > len(data)
    except struct.error:
        return True
    if format == "tiff":
        return _tiff_end(data) > len(data)
    if format == "jxl" and data[:1] == b"\xff":  # a codestream alone does not say where it ends
        return False
    if format in ("avif", "heic", "jxl"):
        return boxes_end(data) > len(data)
    end = {"jpeg": b"\xff\xd9", "jp2": b"\xff\xd9", "png": b"IEND", "gif": b"\x00\x3b"}[format]
    return end not in data[-64:]


def _tiff_end(data: bytes) -> int:
    """Where the last strip or tile of a TIFF's first page ends; beyond the file's end if that is unknown."""
    try:
        source = tiff.Tiff(data)
        fields = source.read(source.chain(1)[0], sum(DATA, ()))
    except (ValueError, IndexError):
        return len(data) + 1
    ends = [
        start + size
        for places, sizes in DATA
        if places in fields and sizes in fields
        for start, size in zip(fields[places].numbers(), fields[sizes].numbers(), strict=False)
    ]
    return max(ends, default=len(data) + 1)
