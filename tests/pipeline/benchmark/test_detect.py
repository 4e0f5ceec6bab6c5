"""The comparison of detectors counts correctly, and the default detector finds the faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jobs.benchmark.detect import portraits
from pipeline.benchmark.detect import Scene, cases, measure
from pipeline.config.limits import DEFAULTS
from pipeline.faces.alignment import Pixels
from pipeline.faces.detectors import load_detector
from pipeline.faces.face import Face, Reach

MOST = DEFAULTS.detect_pixels


@pytest.mark.parametrize("case", [case for case in cases(portraits()) if case != "3 x 3 of it"])
def test_the_default_detector_finds_every_face_and_nothing_else(case: str) -> None:
    row = measure(load_detector("auto", None), cases(portraits())[case], MOST)
    assert (row["faces"], row["found"], row["false"]) == (12, 12, 0)
    assert row["eyes off (eye distances)"] < (0.25 if case == "quarter size" else 0.15)


class TwoBoxes:
    """Finds the left half of a face, with the eyes too high by a fifth of their distance, and one false hit."""

    name, reach = "two boxes", Reach(smallest=1, view=4000, share=1)

    def detect(self, views: Sequence[Pixels], min_face: int) -> list[list[Face]]:
        points = np.array([[10, 16], [30, 16], [20, 30], [12, 40], [28, 40]], np.float32)
        return [[Face((0, 0, 22, 50), points, 0.9), Face((60, 60, 90, 90), points + 60, 0.8)] for _ in views]


def test_what_is_counted() -> None:
    scene = Scene(np.zeros((100, 200, 3), np.uint8), np.array([[[10, 20], [30, 20]], [[110, 20], [130, 20]]], float))
    row = measure(TwoBoxes(), scene, MOST)
    assert (row["faces"], row["found"], row["false"]) == (2, 1, 1)
    assert row["eyes off (eye distances)"] == pytest.approx(0.2)
