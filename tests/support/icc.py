"""Small ICC profiles (ICC.1:2022): matrix and curve for RGB, a curve for grey."""

from __future__ import annotations

import struct

import numpy as np
import pyvips

# Colorants relative to D50, as rows red, green, blue of X, Y, Z.
SRGB = np.array([[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]])
ADOBE_RGB = np.array([[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]])
ADOBE_GAMMA = 563 / 256
WHITE = (0.9642, 1.0, 0.8249)


def adobe_rgb() -> bytes:
    tags = {f"{c}XYZ".encode(): _xyz(*row) for c, row in zip("rgb", ADOBE_RGB, strict=True)}
    tags |= {f"{c}TRC".encode(): _gamma(ADOBE_GAMMA) for c in "rgb"}
    return _profile(b"RGB ", tags)


def grey(gamma: float) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _gamma(gamma)})


def dot_gain() -> bytes:
    """Grey with a table as its curve, like a printer's profile: 20 % more ink in the middle."""
    ink = 1 - np.linspace(0, 1, 256)
    light = 1 - (ink + 0.2 * 4 * ink * (1 - ink)).clip(0, 1)
    return _profile(b"GRAY", {b"kTRC": b"curv" + struct.pack(">4xI256H", 256, *np.rint(light * 65535).astype(int))})


def cmyk() -> bytes:
    return bytes(pyvips.Image.profile_load("cmyk"))


def input_only() -> bytes:
    """A scanner's profile: RGB to Lab by a table, without the inverse."""
    corners = np.array([[100 * g, 90 * (r - g), 90 * (g - b)] for r in (0, 1) for g in (0, 1) for b in (0, 1)])
    table = np.rint((corners / [100, 255, 255] + [0, 128 / 255, 128 / 255]) * 65280).astype(int)
    one = struct.pack(">9i", *(65536 * np.eye(3).astype(int)).ravel())
    line = struct.pack(">2H", 0, 65535)
    body = b"mft2" + struct.pack(">4xBBBx", 3, 3, 2) + one + struct.pack(">2H", 2, 2) + line * 3
    return _profile(b"RGB ", {b"A2B0": body + struct.pack(">24H", *table.ravel()) + line * 3}, b"scnr", b"Lab ")


def _profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    tags = {
        b"desc": b"desc" + struct.pack(">4xI", 5) + b"test\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz(*WHITE),
        **tags,
    }
    place, table, bodies = 128 + 4 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        table += name + struct.pack(">II", place + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12x4s28x", place + len(bodies), b"lcms", 0x02400000, kind, space, connection, b"acsp"
    )
    head += _xyz(*WHITE)[8:] + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + bodies


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(one * 65536) for one in values))


def _gamma(gamma: float) -> bytes:
    return b"curv" + struct.pack(">4xIH2x", 1, round(gamma * 256))
