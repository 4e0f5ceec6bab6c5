"""Rows that wait for the restore stage, with crops that tell photos apart, and the crops that it made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.stages.row import Crops, Row, crops_of
from tests.support.stages import ended_row, photo_row
from tests.support.tiny import IMAGE_SIZE

SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


def crops(faces: int, seed: int) -> Crops:
    """Smooth patches, a different colour for each photo, so that a crop in the wrong photo shows."""
    generator = np.random.default_rng(seed)
    colour = generator.integers(40, 200, (faces, 1, 1, 3))
    return (colour + generator.integers(0, 40, (faces, *SHAPE))).astype(np.uint8)


def waiting(member: str, faces: int, monochrome: bool = False, **columns: Any) -> Row:
    """The second stage's row for a photo with this many faces."""
    seed = sum(member.encode())
    found = [
        {
            "score": 1.0,
            "box": [0, 0, 1, 1],
            "landmarks": [0] * 10,
            "matrix": [1, 0, 0, 0, 1, 0],
            "seed": seed + n,
            "one_tone": monochrome,
            "strength": 1.0,
        }
        for n in range(faces)
    ]
    row = photo_row(member, b"bytes", faces=found, crops=crops(faces, seed).tobytes(), bit_depth=8)
    return row | columns


ROWS = [waiting("a.jpg", 2), ended_row("gone.jpg"), waiting("b.jpg", 1), waiting("c.jpg", 5)]


def restored(rows: list[Row]) -> list[Crops]:
    return [crops_of(row, "restored_crops") for row in rows if row["status"] is None]


def same(found: list[Crops], expected: list[Crops]) -> bool:
    return [faces.tobytes() for faces in found] == [faces.tobytes() for faces in expected]
