"""Third stage: crops to restored crops, on Arrow tables without Ray, by real modules of random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interlcm import InterLCM
from pipeline.restore import RestoreFaces
from pipeline.row import Crops, Row, crops_of
from pipeline.settings import Resources
from tests.stages import ended_row, job, photo_row, rows_of
from tests.tiny import IMAGE_SIZE

SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


def crops(faces: int, seed: int) -> Crops:
    """Smooth patches, each photo of another colour, so that a crop in the wrong photo shows."""
    generator = np.random.default_rng(seed)
    colour = generator.integers(40, 200, (faces, 1, 1, 3))
    return (colour + generator.integers(0, 40, (faces, *SHAPE))).astype(np.uint8)


def waiting(member: str, faces: int) -> Row:
    """What the second stage gives for a photo with so many faces."""
    seed = sum(member.encode())
    found = [
        {
            "score": 1.0,
            "box": [0, 0, 1, 1],
            "landmarks": [0] * 10,
            "matrix": [1, 0, 0, 0, 1, 0],
            "seed": seed + n,
        }
        for n in range(faces)
    ]
    return photo_row(member, b"bytes", faces=found, crops=crops(faces, seed).tobytes())


ROWS = [waiting("a.jpg", 2), ended_row("gone.jpg"), waiting("b.jpg", 1), waiting("c.jpg", 5)]


@pytest.fixture
def stage(tmp_path: Any, tiny_weights: str) -> Any:
    def build(batch_faces: int = 8, **settings: Any) -> RestoreFaces:
        return RestoreFaces(job(tmp_path, tiny_weights, **settings), Resources(batch_faces=batch_faces))

    return build


def restored(rows: list[Row]) -> list[Crops]:
    return [crops_of(row, "restored_crops") for row in rows if row["status"] is None]


def assert_close(found: list[Crops], expected: list[Crops]) -> None:
    assert [faces.shape for faces in found] == [faces.shape for faces in expected]
    for one, other in zip(found, expected, strict=True):
        # A sum in another order can move a value across the middle between two levels.
        np.testing.assert_allclose(one.astype(int), other.astype(int), atol=1)


def test_photos_together_give_what_each_alone_gives(stage: Any) -> None:
    whole = stage(batch_faces=3)  # 8 faces: 3 + 3 + 2, across the borders of photos
    together = rows_of(whole, ROWS)
    assert [row["member"] for row in together] == [row["member"] for row in ROWS]
    assert_close(restored(together), restored([row for one in ROWS for row in rows_of(whole, [one])]))
    assert_close(restored(together), restored(rows_of(stage(batch_faces=1), ROWS)))
    assert_close(restored(together), restored(rows_of(stage(batch_faces=64), ROWS)))
    assert len({faces.tobytes() for row in restored(together) for faces in row}) == 8


def test_a_crop_is_what_the_model_makes_of_it(stage: Any, tiny_weights: str) -> None:
    (row,) = restored(rows_of(stage(steps=3, color_fix="adain"), [waiting("a.jpg", 2)]))
    lq = torch.from_numpy(crops(2, sum(b"a.jpg"))).permute(0, 3, 1, 2).float() / 127.5 - 1
    seeds = [sum(b"a.jpg"), sum(b"a.jpg") + 1]
    expected = InterLCM.from_pretrained(tiny_weights).restore(lq, steps=3, seeds=seeds, color_fix="adain")
    pixels = ((expected.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert_close([row], [pixels])


def test_the_seed_decides(stage: Any) -> None:
    row = waiting("a.jpg", 1)
    other = row | {"faces": [row["faces"][0] | {"seed": 5}]}
    first, again, third = restored(rows_of(stage(), [row, row, other]))
    assert_close([first], [again])
    assert np.abs(first.astype(int) - third).max() > 1


def test_ended_rows_pass_as_they_are(stage: Any) -> None:
    rows = rows_of(lambda table: table, [ended_row("gone.jpg"), ended_row("lost.jpg")])
    assert rows_of(stage(), rows) == rows
    before, after = rows_of(lambda table: table, ROWS), rows_of(stage(), ROWS)
    assert after[1] == before[1]
    made = {"restored_crops", "seconds_restore"}
    for one, other in zip(before, after, strict=True):
        assert {key: one[key] for key in one.keys() - made} == {key: other[key] for key in one.keys() - made}
    assert all(row["seconds_restore"] > 0 for row in after if row["status"] is None)
