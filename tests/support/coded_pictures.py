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
# cjxl -d 0, of 32 x 24 px with an ICC profile
JPEG_XL_WITH_PROFILE = base64.b64decode(
    "/wrFQAhfChIOkA3ZeioU/B6ZFVr+d6SEEylKfPo49lZY4HvAzrO886x+z2jtOzIajZa+RQibMW1mBwCA/4q9lkyMbUMaQOaEuTNnDB05LAAA"
    "QPn1f41XUHFRkbuo4n7vV843V0ndR2qtCwAAACBlKgCfYdxMBpYzB7qZAVKmAvgM42byazlDhoNQe60+6PSabxiBv3r777/zK/x3QvuF9N9/"
    "9w3133/9cXirocAlOuiX6/0BUfqjsbuMWuPQYTZGFBnciydmUirviWkydgpllA0IAgEArQBLKDOOXcjgvojB+7YSIUKEQgoiClq3AAA3HRc4"
    "bGi0jKLpIUK7Je8yJ/7P5MefGD8GfQdQA1AZANizWE8OY9LERv/Q842ACiCT4a7v9euGzIcR6E6Bkb+spdOskxZW8A30I4WmMVde84hiBuQg"
    "fc0UygZn1+B1PFWGMT55mMLrxwZ6R62PzilSNKCgXhPTYLgUr8hrVtW3vWV7n/bdy6ZRWHOc7FjBZOuhQPZUN0NuuNhzTg5R1q0ujx810+Sd"
    "rSnjLowZxCg/SlMCbBv19E5SNsh6ICCG18rFAsn/GDa4GyMBwtmHqmdFZvIARI3sTeXG0H/kI6TUDaNUkgMMWN8Kz3QMqszyioMknBnPKczU"
    "Vw/VK/xBViFkxX1F5Mau22b6WV4cMH3sHkRJcsYgidYwtwV6m9GZAvWH8epx6MuIXwBkAjmkYRWe5eWgKHCR91SarYkkL36oFsaOgNxKxcAf"
    "syg5Kw5/PAngznG+/QPuRei4WZYNtPcKNHDxq0GnsrN5ifAAkLhqEj2frMvBHgxOca2aS+B9y3rF4rxji6VxBsw30LAN+LSLBmac+hQiyGZN"
    "H/iiA/JdopQTJ36hd9RiC8XsefpmkAOv23EDRJDlSWorJKxbntEMRSLPvChH56tMlCvn1/EbnEUB5psl60+WB2EGinio7hbMV2BVPSryOvjQ"
    "2NtrVx7F4ezD1ukCAvZNpYKISzG4hEBWUWvCEoSiz8VMqxamOpGe0o9PyKa59GNHbtOiAOlGjtUiQXWuaQsdkRiMYyrCtjHxwxGJu18EMsyc"
    "4qTtFf5kimlpJYQUHPKXFB7vAvk8HLAWpMH5pXjYe+KwEKU+fTDn1oWraiK8wX76unCu6Q0bATsdt8s6/+E1MKrKfhr2YJlUV55YCmPqVNIP"
    "iaLH+hgw3XT6k6NByYP0/aQ2GjMzvNvIuKC+tH+miV8p5MKPMR1Em7W7D02eh9vu6uSSzbUelPHNzYGZdCVYVkxSCDCy5I2NHXZ+DL3u19de"
    "onkIUaoHNdpp/FHqgk0FN4uf5L/m1ZNx78w/AFoFvvlWP5l6LDqLqC525LbQl/Jo83lG/lOHwbi5nQUIqt9nbXKIoqReUj63cLRQRRm2VB0n"
    "CP8miZ6xTRmV6B1MPhpqRtwz7/ixF1qA/7SE5MBHLF8r1WHpqwu0cH5Is4ZroMLaB9X1cf6MdszJqs72+32h9f38QZ5HmWq27XitNzslJS+c"
    "2izsMdmtUZXXJBUcCbpL+gizgfViT+1slHiNjgVwYyflVk7PBtEXgjPfs7aqlGNa0AWefp6vQmkjhC16py6xh78n4Id64IMtRoXYdPRuIl01"
    "bfBbCSu4qpyshHPNMWrigHPx4eAbijVp7XClZpWk9i75G/Q110I/YUWHVyBvNUpj91ea9921Uvlwrnu0ax3YCNhbAA=="
)
# cjxl --lossless_jpeg=1
JPEG_IN_JPEG_XL = base64.b64decode(
    "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAASanhscAAAAAD/ChgxEAkAAABtamJyZMBtAwiCILQMCIBQo0DICQAAACDkyPo/"
    "QQiRykgAgBA4zEFKHWaodI8ZSD5kkaMG+1/BJAAAAIAY4/8lhDACAACAcJBh2BxoqP8FfgCgsgAACwiA4AAQSkZJRgABAQAAAQABAAADAAAC"
    "DGp4bHCAAAAB4FsCEADkB4p6CnqKev7/DgAAGAAIAAEAAAAAAICAJYmEqF7MFQDAd0voBQCg5KSgoKAwNUiPwTy7MHJj8CobBlq0jKQ0B8Cl"
    "PrQ8+unmOG/A2hoadsEwp7ZaTenpH6mOt5UGAlqRFsGiAIwDADAB4AQQQ3KHUSDTMGbexdgUgzHG+3sUhjHG2AIxDcYYY4wxxhhjjDHGGGOM"
    "McYYY4wxxqDuGGMMyZM8UymUIkKADUVg5Gc6wCp+hziAKDrCgLZsahACyoNICRj1Qkin0f4hwtUAMMYyJMT9a6yASQEU48DwXFos0zDG2IZ8"
    "FIMxxgz8F4YxxtgMxhhjYFyMMcYYY4wxxhhjjDHGGGOMMcYYYwwAAAAAAHAAkFBqaO0BAJJMQgqaB8BupaOOpKTTxcyUSHbDBHAXQotK36yY"
    "F37HndnHxqs1EydX2fYdxuENm6zMugkI4vn2RZiif5ZDqoDdVht2dsN1cK/7ZdSAW2fdishCAcLgJjxp7bhwIqyLrixzr75bQDxrgaMPR1xC"
    "4SQdxXcuQQNjm/gtQ0Xi5T3bq5KKbEr0K6HgFblDdWkp6CLEsvh3YvAqxo+8suiIx4px2/bnkaWoS9p3JX31JmfgIfnrd9yikfIZatiB1n3E"
    "xiuuXsjdXR6+Gnf3p5/ZWCjxAQrIKQA5TZRGxSnHOIwujik="
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
    """A TIFF of old-style JPEG (TIFF 6.0, section 22): a whole JPEG file at JPEGInterchangeFormat."""
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
