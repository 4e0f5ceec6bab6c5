"""Image files for tests, by Pillow and OpenCV, which share no decoder with the tested code, or by hand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

Pixels = npt.NDArray[Any]
Order = Literal["<", ">"]
ORDERS: tuple[Order, Order] = ("<", ">")

PIXELS: Pixels = skimage.data.astronaut()[:96, :128]
ALPHA: Pixels = np.tile(np.arange(128, dtype=np.uint8) * 2, (96, 1))
# Each of the 65536 values may come; the low bytes are no copy of the high ones.
DEEP: Pixels = PIXELS.astype(np.uint16) * 257 ^ np.random.default_rng(0).integers(0, 256, PIXELS.shape).astype(
    np.uint16
)
DEEP_ALPHA: Pixels = ALPHA.astype(np.uint16) * 257 + 3


def file(format: str, mode: str = "RGB", **options: Any) -> bytes:
    """The picture by Pillow, in one of its formats and modes; a mode with A has ALPHA."""
    image = Image.fromarray(PIXELS).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(ALPHA))
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def by_opencv(extension: str, pixels: Pixels, *options: int) -> bytes:
    """Grey, RGB or RGBA, of 8 or 16 bits."""
    done, data = cv2.imencode(extension, swapped(pixels), list(options))
    assert done
    return data.tobytes()


def read_by_opencv(data: bytes) -> Pixels:
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    return swapped(read)


def read_by_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def swapped(pixels: Pixels) -> Pixels:
    """RGB(A) to BGR(A) and back."""
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 and pixels.shape[2] > 2 else pixels


def jpeg2000(pixels: Pixels, bits: int) -> bytes:
    """Lossless JPEG 2000 of any number of bits: made with 16, then said to have fewer.

    A decoder adds half the range to what is stored (ISO/IEC 15444-1, annex G.1), so half of 16 bits' is put in.
    """
    stored = (pixels.astype(int) + (1 << 15) - (1 << (bits - 1))).astype(np.uint16)
    data = bytearray(by_opencv(".jp2", stored, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000))
    data[data.index(b"ihdr") + 14] = bits - 1
    size = data.index(b"\xff\x4f\xff\x51")
    for channel in range(int.from_bytes(data[size + 40 : size + 42], "big")):
        data[size + 42 + 3 * channel] = bits - 1
    return bytes(data)


def tiff(
    pixels: Pixels,
    photometric: int,
    extra: tuple[int, ...] = (),
    order: Order = "<",
    planar: bool = False,
    big: bool = False,
    kinds: tuple[int, ...] = (0,),
    fields: dict[int, tuple[int, bytes]] | None = None,
) -> bytes:
    """An uncompressed TIFF by hand (TIFF 6.0), (H, W, B) of 8 or 16 bits; every one of `kinds` (NewSubfileType) is a
    page. fields: type and little-endian value of further fields, for each page."""
    height, width, bands = pixels.shape
    samples = np.moveaxis(pixels, 2, 0) if planar else pixels
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    strips, size = (bands, len(body) // bands) if planar else (1, len(body))
    word, head = ("Q", 16) if big else ("I", 8)
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    if big:
        out += struct.pack(order + "HH", 8, 0)
    link = len(out)
    out += struct.pack(order + word, 0) + body
    for kind in kinds:
        numbers = {
            254: (4, [kind]),
            256: (4, [width]),
            257: (4, [height]),
            258: (3, [8 * pixels.itemsize] * bands),
            259: (3, [1]),
            262: (3, [photometric]),
            273: (16 if big else 4, [head + n * size for n in range(strips)]),
            277: (3, [bands]),
            278: (4, [height]),
            279: (16 if big else 4, [size] * strips),
            284: (3, [2 if planar else 1]),
        }
        if extra:
            numbers[338] = (3, list(extra))
        codes = {3: "H", 4: "I", 16: "Q"}
        values = {
            tag: (kind, len(v), struct.pack(f"{order}{len(v)}{codes[kind]}", *v)) for tag, (kind, v) in numbers.items()
        }
        values |= {tag: (kind, len(v), v) for tag, (kind, v) in (fields or {}).items()}
        struct.pack_into(order + word, out, link, len(out))
        link = _directory(out, values, order, word)
    return bytes(out)


def _directory(out: bytearray, values: dict[int, tuple[int, int, bytes]], order: str, word: str) -> int:
    """Append a directory; returns the position of the next one's offset."""
    room = struct.calcsize(word)
    out += struct.pack(order + ("Q" if word == "Q" else "H"), len(values))
    place = len(out) + len(values) * (4 + 2 * room) + room
    later = b""
    for tag, (kind, count, value) in sorted(values.items()):
        out += struct.pack(order + "HH" + word, tag, kind, count)
        if len(value) <= room:
            out += value.ljust(room, b"\0")
        else:
            out += struct.pack(order + word, place + len(later))
            later += value
    link = len(out)
    out += bytes(room) + later
    return link


def read_tiff(data: bytes) -> Pixels:
    """(H, W, B) of a deflated, chunky, little-endian TIFF, by hand: no other reader here knows 16-bit CMYK, or five
    channels. Samples may be differences between neighbours (TIFF 6.0, section 14)."""
    fields = tiff_fields(data)
    height, width, bands, bits = (fields[tag][0] for tag in (257, 256, 277, 258))
    assert data[:3] == b"II*" and fields[259] == (8,) and fields.get(284, (1,)) == (1,)
    strips = [zlib.decompress(data[o : o + n]) for o, n in zip(fields[273], fields[279], strict=True)]
    pixels = np.frombuffer(b"".join(strips), f"<u{bits // 8}").reshape(height, width, bands)
    return np.add.accumulate(pixels, axis=1, dtype=pixels.dtype) if fields.get(317) == (2,) else pixels


def tiff_fields(data: bytes) -> dict[int, tuple[int, ...]]:
    """The SHORT and LONG fields of a little-endian TIFF's only directory."""
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    assert struct.unpack_from("<I", data, place + 2 + 12 * count) == (0,), "a second page"
    fields = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", data, entry)
        if kind in (3, 4):
            values = f"<{number}{'H' if kind == 3 else 'I'}"
            inline = struct.calcsize(values) <= 4
            fields[tag] = struct.unpack_from(
                values, data, entry + 8 if inline else struct.unpack_from("<I", data, entry + 8)[0]
            )
    return fields
