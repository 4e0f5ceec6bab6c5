from __future__ import annotations

import numpy as np

from pipeline.report.columns import FACE_METRICS, Columns
from pipeline.report.doubt import better, doubt


def columns(count: list[int], **known: list[float]) -> Columns:
    faces = sum(count)
    face = {name: np.full(faces, np.nan) for name in (*FACE_METRICS, "needs_review")}
    face |= {name: np.array(values, np.float64) for name, values in known.items()}
    return Columns(face, {"face_count": np.array(count, np.float64)})


def test_a_photo_is_as_doubtful_as_its_worst_face_in_its_worst_measure() -> None:
    found = doubt(columns([2, 0, 1, 1], psnr=[30, 20, 25, 40], delta_e=[1, 2, 9, 3], needs_review=[0, 0, 0, 0]))
    assert found[0] == 0.75  # three of four faces have a better PSNR than its second
    assert np.isnan(found[1])
    assert found[2] == 0.75  # and three a smaller difference of colours
    assert found[3] == 0.5


def test_faces_to_review_come_before_all_others() -> None:
    found = doubt(columns([1, 1, 1], psnr=[40, 10, 20], needs_review=[1, 0, 0]))
    assert list(np.argsort(-found)) == [0, 1, 2]


def test_a_missing_measure_raises_no_doubt() -> None:
    assert list(doubt(columns([1, 1], psnr=[np.nan, 10], needs_review=[0, 0]))) == [0, 0]
    assert len(doubt(columns([]))) == 0
    assert np.isnan(doubt(columns([0]))[0])


def test_the_share_that_is_better_counts_no_equals() -> None:
    assert list(better(np.array([1.0, 1.0, 3.0, np.nan]))) == [1 / 3, 1 / 3, 0, 0]
