"""Why bytes are no photo: of another format, cut off or damaged. Looks at content only, after decoding failed."""

from __future__ import annotations

import struct

# First bytes of image formats that nothing here decodes. A camera's raw format is often a TIFF by its first bytes
# (DNG, NEF, CR2): such files do decode, to their preview.
UNSUPPORTED = {
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
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
# than AVIF, which is decoded.
BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC", b"crx ": "Canon raw"}

# How a macOS archive keeps a file's extended attributes: "._a.jpg" beside "a.jpg" (RFC 1740).
APPLE_DOUBLE = b"\0\x05\x16\x07"


def diagnose(data: bytes, reason: str) -> tuple[str, str]:
    """(error_type, message) for data that did not decode. reason: what the decoder said, of any length."""
    foreign = _foreign(data)
    if foreign:
        return "unsupported_format", f"{foreign} files are not decoded: convert the file to TIFF or PNG"
    format = _magic(data)
    if format is None and "not in a known format" in reason:
        return "not_an_image", "the content is no image format that this installation reads"
    if format is not None and _cut_off(data, format):
        return "truncated", f"the {format} file ends too early, after {len(data)} bytes"
    # libvips appends: the last line belongs to this call.
    last = [line.strip() for line in reason.splitlines() if line.strip()][-1]
    return "decode_error", f"the {format or 'image'} file cannot be decoded: {last}"


def is_bmp(data: bytes) -> bool:
    """Whether these bytes begin as a Windows bitmap: "BM" and a header of a size that exists (a text can say BM)."""
    return data[:2] == b"BM" and data[14:18] in {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}


def only_copies_follow(data: bytes) -> bool:
    """Whether all pages of a TIFF after its first are reduced copies (TIFF 6.0, NewSubfileType, bit 0).

    A scanner's thumbnail or a pyramid's levels hold nothing that the first page lacks. False where it cannot be told:
    a BigTIFF, more than 64 pages, a page that lies beyond the last byte.
    """
    order = "<" if data[:2] == b"II" else ">"
    seen: set[int] = set()
    place = 4  # where the offset of the next page stands
    try:
        while (page := struct.unpack_from(order + "I", data, place)[0]) and len(seen) < 64:
            reduced = sum(_directory(data, page, (254,)).get(254, ())) & 1
            if page in seen or (seen and not reduced):
                return False
            seen.add(page)
            place = page + 2 + 12 * struct.unpack_from(order + "H", data, page)[0]
    except struct.error:
        return False
    return page == 0 and data[2:4] in (b"*\0", b"\0*")


def _foreign(data: bytes) -> str | None:
    """The name of the format, if it is an image format that is not decoded."""
    if data[4:8] == b"ftyp":
        box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        brands = [box[place : place + 4] for place in range(0, len(box), 4)]
        return next((BRANDS[brand] for brand in brands if brand in BRANDS), None)
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n" and data[3:4] in b"#0123456789":
        return "Netpbm"
    return next((name for start, name in UNSUPPORTED.items() if data.startswith(start)), None)


def _magic(data: bytes) -> str | None:
    """The format that the first bytes announce, for the formats whose end can be checked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if is_bmp(data):
        return "bmp"
    starts = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"II*\0": "tiff", b"MM\0*": "tiff"}
    return next((format for start, format in starts.items() if data.startswith(start)), None)


def _cut_off(data: bytes, format: str) -> bool:
    """Whether an unreadable file lacks its end: the end marker, the announced length, or what offsets point to."""
    try:
        if format == "webp":  # RIFF: the length of what follows the first 8 bytes
            return int(struct.unpack_from("<I", data, 4)[0]) + 8 > len(data)
        if format == "bmp":
            return int(struct.unpack_from("<I", data, 2)[0]) > len(data)
        if format == "tiff":
            return _tiff_end(data) > len(data)
    except struct.error:  # a directory or list that lies beyond the last byte
        return True
    return {"jpeg": b"\xff\xd9", "png": b"IEND", "gif": b"\x00\x3b"}[format] not in data[-64:]


def _tiff_end(data: bytes) -> int:
    """Where the last strip or tile of a TIFF's first page ends (TIFF 6.0, section 2 and tags 273, 279, 324, 325)."""
    order = "<" if data[:2] == b"II" else ">"
    fields = _directory(data, struct.unpack_from(order + "I", data, 4)[0], (273, 279, 324, 325))
    pairs = ((273, 279), (324, 325))
    return max(
        (o + n for a, b in pairs for o, n in zip(fields.get(a, ()), fields.get(b, ()), strict=False)),
        default=0,
    )


def _directory(data: bytes, directory: int, tags: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """The values of those `tags` that the directory at this offset has, all of type SHORT or LONG."""
    order = "<" if data[:2] == b"II" else ">"
    fields: dict[int, tuple[int, ...]] = {}
    for entry in range(struct.unpack_from(order + "H", data, directory)[0]):
        place = directory + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        if tag in tags:
            values = f"{order}{min(count, len(data))}{'H' if kind == 3 else 'I'}"
            inline = struct.calcsize(values) <= 4
            start = place + 8 if inline else struct.unpack_from(order + "I", data, place + 8)[0]
            fields[tag] = struct.unpack_from(values, data, start)
    return fields
