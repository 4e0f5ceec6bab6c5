"""Crops of pairs: the same face from both pictures at any size, and a row for every failure."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from interlcm.degradation import Degradation, lq_for
from pipeline.evaluation.crops import CutFaces, degraded
from pipeline.evaluation.pixels import crops_of
from pipeline.evaluation.schema import to_table
from pipeline.stages.detect import face_seed
from pipeline.stages.row import Row
from tests.support.pictures import Pixels, coffee, encoded, hopper, resized, side_by_side
from tests.support.stages import job

SHARP = hopper(256)
SQUARE = SHARP[:256]


def png(pixels: Pixels) -> bytes:
    return encoded(pixels, "PNG")


def pair(lq: bytes | None, hq: bytes | None) -> Row:
    named = {"lq_member": "box/a.png" if lq else None, "hq_member": "a.png" if hq else None}
    return {"pair": 0, "shown": False, "lq": lq, "hq": hq, "status": None, **named}


def cut(weights: str, row: Row, degradation: Degradation | None = None, **settings: Any) -> list[Row]:
    stage = CutFaces(job("out", weights, **settings), (degradation,) if degradation else ())
    return [one for table in stage(to_table([row])) for one in table.to_pylist()]


def test_aligned_pictures_of_different_sizes_come_to_the_size_of_the_model(tiny_weights: str) -> None:
    small = resized(SQUARE, 64)
    (row,) = cut(tiny_weights, pair(png(small), png(SQUARE)), aligned=True)
    crops = crops_of({**row, "restored_crop": None})
    assert {name: crop.shape for name, crop in crops.items()} == {"lq": (32, 32, 3), "hq": (32, 32, 3)}
    assert np.abs(crops["lq"].astype(int) - crops["hq"]).mean() < 2
    assert row["status"] is None and row["lq"] is None and row["hq"] is None
    assert row["seed"] == face_seed(hashlib.sha256(png(small)).hexdigest(), 1, 0, 0)  # as restore seeds this LQ file


def test_a_face_found_in_hq_is_cut_out_of_a_smaller_lq(tiny_weights: str) -> None:
    """This also works for a picture in which no detector would find the face."""
    scene = side_by_side(coffee(400), SHARP)
    blurred = resized(scene, scene.shape[1] // 8)
    (row,) = cut(tiny_weights, pair(png(blurred), png(scene)))
    crops = crops_of({**row, "restored_crop": None})
    assert np.abs(crops["lq"].astype(int) - crops["hq"]).mean() < 12
    assert cut(tiny_weights, pair(png(blurred), None))[0]["status"] == "no_face"


def test_hq_alone_is_degraded_the_same_each_time(tiny_weights: str) -> None:
    degradation = Degradation(noise=(40.0, 40.0))
    (row,) = cut(tiny_weights, pair(None, png(SQUARE)), degradation, aligned=True)
    assert cut(tiny_weights, pair(None, png(SQUARE)), degradation, aligned=True) == [row]
    crops = crops_of({**row, "restored_crop": None})
    sharp = torch.from_numpy(crops["hq"].copy()).permute(2, 0, 1) / 127.5 - 1
    generator = torch.Generator().manual_seed(row["seed"])
    again = lq_for("restore", sharp, [degradation], generator).permute(1, 2, 0).numpy()
    assert np.abs((again + 1) * 127.5 - crops["lq"]).max() <= 0.51
    (other,) = cut(tiny_weights, pair(None, png(SQUARE)), degradation, aligned=True, seed=1)
    assert other["hq_crop"] == row["hq_crop"] and other["lq_crop"] != row["lq_crop"]


def test_lq_for_another_task_is_what_training_gives_it(tiny_weights: str) -> None:
    assert (degraded(SQUARE, "colorize", (), 0) == degraded(SQUARE, "colorize", (), 0)[..., :1]).all()
    white = (degraded(SQUARE, "inpaint", (), 0) == 255).all(2)
    assert 0.05 < white.mean() < 0.9


def test_lq_alone_has_no_hq_crop(tiny_weights: str) -> None:
    (row,) = cut(tiny_weights, pair(png(SQUARE), None), aligned=True)
    assert row["lq_crop"] is not None and row["hq_crop"] is None
    found = cut(tiny_weights, pair(png(side_by_side(SHARP, SHARP)), None))
    assert [one["face_index"] for one in found] == [0, 1] and found[0]["seed"] != found[1]["seed"]


def pages() -> bytes:
    sink = io.BytesIO()
    one = Image.fromarray(SQUARE)
    one.save(sink, "TIFF", save_all=True, append_images=[one])
    return sink.getvalue()


@pytest.mark.parametrize(
    ("lq", "hq", "aligned", "ended"),
    [
        (png(SQUARE)[:999], png(SQUARE), True, ("failed", "truncated", "LQ picture: ")),
        (png(SQUARE), b"a text", True, ("failed", "not_an_image", "HQ picture: named like an image")),
        (png(SQUARE), pages(), True, ("failed", "many_pages", "HQ picture: the file holds 2 pictures")),
        (png(SQUARE), png(SHARP), True, ("failed", "not_aligned", "256 x 300 px: --aligned takes square")),
        (png(SHARP[:256]), png(SHARP), False, ("failed", "different_sizes", "LQ is 256 x 256 px, HQ 256 x 300 px")),
        (png(coffee()), png(coffee()), False, ("no_face", None, "")),
    ],
)
def test_what_cannot_be_compared_is_one_row(
    tiny_weights: str, lq: bytes, hq: bytes, aligned: bool, ended: tuple[str, str | None, str]
) -> None:
    (row,) = cut(tiny_weights, pair(lq, hq), aligned=aligned)
    assert (row["status"], row["error_type"]) == ended[:2]
    assert (row["error"] or "").startswith(ended[2])
    assert row["lq_crop"] is None and row["hq_member"] == "a.png"
