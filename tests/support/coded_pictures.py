"""Small pictures (48 x 36 px) in formats that neither Pillow nor OpenCV writes, by the encoders of Debian 12."""

from __future__ import annotations

import base64
import io

import imagecodecs
import numpy as np
import tifffile

from tests.support.picture_files import DEEP, PIXELS, Pixels

# heif-enc -q 30 (libheif 1.15, x265 3.5)
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAa1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRt"
    "AAAAAAACAAAAEGlkYXQAAAAAADAAJAAAADhpbG9jAQAAAERAAAIAAQAAAAAAAAHRAAEAAAAAAAAAmQACAAEAAAAAAAAAAQAAAAAAAAAIAAAA"
    "OGlpbmYAAAAAAAIAAAAVaW5mZQIAAAEAAQAAaHZjMQAAAAAVaW5mZQIAAAAAAgAAZ3JpZAAAAADYaXBycAAAALZpcGNvAAAAdmh2Y0MBA3AA"
    "AAAAAAAAAAAe8AD8/fj4AAAPAyAAAQAYQAEMAf//A3AAAAMAkAAAAwAAAwAeugJAIQABACpCAQEDcAAAAwCQAAADAAADAB6gIIEFlurkprm4"
    "EBAwIAAAAwAgAAADACEiAAEABkQBwXPAiQAAABRpc3BlAAAAAAAAAEAAAABAAAAAFGlzcGUAAAAAAAAAMAAAACQAAAAQcGl4aQAAAAADCAgI"
    "AAAAGmlwbWEAAAAAAAAAAgABAoECAAICA4QAAAAaaXJlZgAAAAAAAAAOZGltZwACAAEAAQAAAKFtZGF0AAAAlSgBrxmAv3e9uA7vrNlgbnX1"
    "Txyf1aVn+ArzSOmjVxt4fzv7lNLD0g1+3eTLDeqoZdfDjss2DSoUHGvbwjTt/OaBYZpjJFWl6x7DM/VUJ6pcRQqEq/DmKSkNWNQUDTJ4VFBm"
    "SLTz+5NAF22BjkZaHWCOxm2jBb05BonE36V9VBxSlX1Scu8K7gIYAlj5J+MIOQXhoiIQ"
)
# cjxl -d 3 (libjxl 0.7)
JPEG_XL = base64.b64decode(
    "/woYMZBQubeKIAGABYtNCQCACpVRxg1ezvV8+aHDYtrGdYa22rawhLHZXhgkBEANw3BbNixEBwACk/QLMPaAfHY4/4FIX2jCPahTkDP6M78z"
    "tD0O50r3sbO1BOrwYFcHOiUA43N54fijoCNL98BgR8II2MGBM7BlCLBb/mbh2E55O/yqQcDYYnazLQEKYMBR4wJAQolNGbbnPwBQVVWNNS+X"
    "+4b3HUIKJAGoK17k5V0U7y6moBgDgFiwn0P498V2OztYov4wmupxKZqaF+O4NurTJHJwOuzjFk+mQ4n2RRnK8PjrexyIJvV4+vSWI+h50UNR"
    "IYVokbyCUUPk1QWiNEhmzgrfGZzl8sfOigTl7wcQdWKbWK3jSWx9wt8j7sbC7ottV3/7ziEYAH/XnnGpxrfQqUin/PDz6xsDBHOdYWew/UZe"
    "jibTkQQuiEAOH/0caKQBiPyO8JrYHXQN34bnohafyfW4AdgLfNUmeBc="
)


def jpeg_of_12_bits(pixels: Pixels = DEEP >> 4) -> bytes:
    """By libjpeg-turbo 3."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), bitspersample=12, level=97))


def lossless_jpeg(pixels: Pixels, bits: int) -> bytes:
    """ITU-T T.81, process 14, by libjpeg-turbo 3."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), bitspersample=bits, lossless=True))


def planar_tiles(pixels: Pixels = PIXELS, compression: str = "lzw") -> bytes:
    """A TIFF of tiles of separate planes, by tifffile."""
    stream = io.BytesIO()
    planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    tifffile.imwrite(stream, planes, photometric="rgb", planarconfig="separate", tile=(32, 32), compression=compression)
    return stream.getvalue()


def old_jpeg(jpeg: bytes, width: int, height: int) -> bytes:
    """A TIFF of old-style JPEG (TIFF 6.0, section 22): the JPEG file as it is, named by JPEGInterchangeFormat."""
    import struct

    numbers = {
        256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 6), 262: (3, 6), 273: (4, 8), 277: (3, 3),
        278: (4, height), 279: (4, len(jpeg)), 512: (3, 1), 513: (4, 8), 514: (4, len(jpeg)),
    }  # fmt: skip
    body = jpeg + bytes(len(jpeg) % 2)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(numbers.items()))
    bits = 8 + len(body) + 2 + len(entries) + 4
    entries = entries.replace(struct.pack("<HHII", 258, 3, 1, 8), struct.pack("<HHII", 258, 3, 3, bits))
    directory = struct.pack("<H", len(numbers)) + entries + bytes(4) + struct.pack("<3H", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory
