"""Find faces with the Viola-Jones cascades that ship with OpenCV: no download, CPU only.

The cascades find upright, frontal faces and return squares without landmarks. So the eyes are searched inside each
square, and the other landmarks follow from the FFHQ template.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt

from pipeline.faces.alignment import TEMPLATE, Pixels
from pipeline.faces.face import DetectorError, Face, Reach, suppress


class HaarDetector:
    """Two face cascades vote, then eye cascades place the eyes; a few seconds for a group photo of 1680 x 870 px."""

    name = "haar"

    # Cascades have a 20 px window; below 24 px nearly everything they find is texture.
    SMALLEST = 24
    # A cascade takes about twelve times as long per pixel as YuNet.
    reach = Reach(smallest=SMALLEST, view=2400, share=1 / 8, sure=0.7)
    # Votes are overlapping windows of a dense scan (scale step 1.05). Measured on degraded group photos: a clear
    # face gets 40 to 150 votes, a blurred and noisy one 5 to 20, a false hit 2 to 11. With few votes, a second
    # cascade must agree.
    SCALE_STEP = 1.05
    VOTES_ALONE = 12
    VOTES_TOGETHER = 16

    def __init__(self) -> None:
        self._face = _cascade("haarcascade_frontalface_alt2.xml")
        self._second = _cascade("haarcascade_frontalface_default.xml")
        self._eyes = _EyeFinder()

    def detect(self, views: Sequence[Pixels], min_face: int) -> list[list[Face]]:
        """For each view (H, W, 3) uint8 RGB, upright: faces at least min_face px wide, best score first."""
        return [self._faces(view, min_face) for view in views]

    def _faces(self, pixels: Pixels, min_face: int) -> list[Face]:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        faces = [
            Face(
                box=(x, y, x + side, y + side),
                landmarks=self._eyes.landmarks(grey, (x, y, side)).astype(np.float32),
                score=votes / (votes + self.VOTES_ALONE),  # 0.5 at the threshold for one cascade
            )
            for x, y, side, votes in self._boxes(grey, max(self.SMALLEST, min_face))
        ]
        return suppress(faces)

    def _boxes(self, grey: npt.NDArray[np.uint8], smallest: int) -> list[tuple[int, int, int, int]]:
        """(x, y, side, votes) of every accepted square."""
        boxes, votes = self._face.detectMultiScale2(
            grey, scaleFactor=self.SCALE_STEP, minNeighbors=2, minSize=(smallest, smallest)
        )
        accepted = []
        for (x, y, side, _), count in zip(boxes, votes, strict=True):
            total = int(count)
            if count < self.VOTES_ALONE:
                total += self._second_opinion(grey, x, y, side)
            if count >= self.VOTES_ALONE or (total > count and total >= self.VOTES_TOGETHER):
                accepted.append((int(x), int(y), int(side), total))
        return accepted

    def _second_opinion(self, grey: npt.NDArray[np.uint8], x: int, y: int, side: int) -> int:
        """Votes of the second cascade for a face of about this size near this place."""
        margin = side // 2
        around = grey[max(y - margin, 0) : y + side + margin, max(x - margin, 0) : x + side + margin]
        low, high = max(round(side * 0.75), 1), round(side * 1.33)
        _, votes = self._second.detectMultiScale2(
            around, scaleFactor=self.SCALE_STEP, minNeighbors=2, minSize=(low, low), maxSize=(high, high)
        )
        return max((int(count) for count in votes), default=0)


class _EyeFinder:
    """Five landmarks for a box of haarcascade_frontalface_alt2: eyes by cascade, the rest from the template.

    Each eye is the mean of the hits near its usual place, weighted by votes and nearness. The usual place itself
    counts as one more hit. So a face without eye hits gets the usual landmarks, and a single wrong hit moves an eye
    only a little.
    """

    # Boxes are resized to 200 px: eyes are then about 45 px wide, twice the cascades' window.
    SIDE = 200
    # Median eye positions in alt2 boxes of group photos and portraits, as fractions of the box, and their spread.
    USUAL = ((0.32, 0.38), (0.675, 0.38))
    SPREAD = 0.07
    USUAL_WEIGHT = 0.25
    # The two eye-specific cascades (named for the sitter's side) include the brow, so their centres lie too high by
    # this fraction of the box.
    BROW = 0.028

    def __init__(self) -> None:
        either = [(_cascade(f"haarcascade_{name}.xml"), 0.0) for name in ("eye", "eye_tree_eyeglasses")]
        self._cascades = [
            [*either, (_cascade(f"haarcascade_{name}_2splits.xml"), self.BROW)] for name in ("righteye", "lefteye")
        ]

    def landmarks(self, grey: npt.NDArray[np.uint8], box: tuple[int, int, int]) -> npt.NDArray[np.float64]:
        """(5, 2) px in `grey` for the square box (x, y, side)."""
        x, y, side = box
        patch = cv2.resize(
            grey[y : y + side, x : x + side],
            (self.SIDE, self.SIDE),
            interpolation=cv2.INTER_AREA if side > self.SIDE else cv2.INTER_LINEAR,
        ).astype(np.uint8, copy=False)
        left, right = (complex(*self._eye(patch, which)) * side + complex(x, y) for which in (0, 1))
        template = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
        # In the complex plane, a similarity transform through two points is one factor and one offset.
        points = left + (right - left) / (template[1] - template[0]) * (template - template[0])
        return np.stack([points.real, points.imag], axis=1)

    def _eye(self, patch: npt.NDArray[np.uint8], which: int) -> npt.NDArray[np.float64]:
        """One eye (0 left, 1 right in the image) as (x, y) fractions of the patch."""
        usual = np.array(self.USUAL[which])
        # Search only this eye's half of the upper part, and a little beyond the middle: hits elsewhere weigh nothing.
        left, top = (self.SIDE * 9 // 20 * which, self.SIDE // 10)
        corner = patch[top : self.SIDE * 2 // 3, left : left + self.SIDE * 11 // 20]
        total, weight = usual * self.USUAL_WEIGHT, self.USUAL_WEIGHT
        for cascade, brow in self._cascades[which]:
            boxes, votes = cascade.detectMultiScale2(
                corner,
                scaleFactor=1.05,
                minNeighbors=3,
                minSize=(self.SIDE // 7, self.SIDE // 7),
                maxSize=(self.SIDE * 2 // 5, self.SIDE * 2 // 5),
            )
            for (x, y, width, height), count in zip(boxes, votes, strict=True):
                centre = np.array([left + x + width / 2, top + y + height / 2]) / self.SIDE + (0, brow)
                near = np.exp(-((centre - usual) ** 2).sum() / (2 * self.SPREAD**2))
                share = float(near * count / (count + 10))
                total, weight = total + share * centre, weight + share
        return total / weight


def _cascade(file: str) -> cv2.CascadeClassifier:
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / file))
    if cascade.empty():
        raise DetectorError(f"OpenCV's {file} is missing: install opencv-python below 5, which ships it")
    return cascade
