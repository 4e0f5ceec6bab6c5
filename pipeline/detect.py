"""Finding faces: facexlib's RetinaFace when its weights are there, OpenCV's Haar cascades otherwise.

Both give the same `Face`: box, five landmarks, score. Haar needs no download, finds upright frontal faces.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.face import DetectorError, Face, Pixels, shrink, suppress
from pipeline.haar import HaarDetector

# facexlib's release files (github.com/xinntao/facexlib, release v0.1.0) and the network each belongs to, best
# first.
RETINAFACE_FILES = {
    "retinaface_resnet50": ("detection_Resnet50_Final.pth", "resnet50"),
    "retinaface_mobile0.25": ("detection_mobilenet0.25_Final.pth", "mobile0.25"),
}
DETECTORS = ("auto", *RETINAFACE_FILES, "haar")


class RetinaFaceDetector:
    """RetinaFace (arXiv 1905.00641) as facexlib ships it, loaded from a local file, never downloaded."""

    # facexlib's own threshold for restoration (face_restoration_helper.py) and its bound on the long side
    # (retinaface.py).
    CONFIDENCE = 0.97
    LONGEST_SIDE = 2150
    # facexlib's helper looks at a 640 px short side. The largest anchor is 512 px, so a face that fills a big
    # scan is only found there; small faces only in the large view.
    OVERVIEW_SIDE = 640

    def __init__(self, name: str, path: Path) -> None:
        # Imported here: facexlib and torchvision take about 1.5 s, which runs on the Haar cascades need not
        # wait for.
        from facexlib.detection.retinaface import RetinaFace

        self.name = name
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = RetinaFace(network_name=RETINAFACE_FILES[name][1], half=False, device=self._device)
        _load(self._network, name, path)
        self._network.eval().to(self._device)

    def detect(self, pixels: Pixels, min_face: int) -> list[Face]:
        """Faces of at least min_face px across, best score first. pixels: (H, W, 3) uint8 RGB, upright."""
        height, width = pixels.shape[:2]
        scales = {
            min(1.0, self.LONGEST_SIDE / max(height, width)),
            min(1.0, self.OVERVIEW_SIDE / min(height, width)),
        }
        faces = [face for scale in sorted(scales) for face in self._detect_at(pixels, scale)]
        return suppress(face for face in faces if face.box[2] - face.box[0] >= min_face)

    def _detect_at(self, pixels: Pixels, scale: float) -> list[Face]:
        image = cv2.cvtColor(shrink(pixels, scale), cv2.COLOR_RGB2BGR)
        with torch.inference_mode():
            # (N, 15): box, score, landmarks
            rows = self._network.detect_faces(image, conf_threshold=self.CONFIDENCE)
        return [
            Face(
                box=(float(row[0]), float(row[1]), float(row[2]), float(row[3])),
                landmarks=row[5:15].reshape(5, 2).astype(np.float32),
                score=float(np.clip(score, 0, 1)),
            )
            for row, score in zip(rows / scale, rows[:, 4], strict=True)
        ]


Detector = HaarDetector | RetinaFaceDetector


def load_detector(name: str, face_weights: Path | None) -> Detector:
    """The detector called `name` (one of DETECTORS).

    face_weights: the `face` folder of a weights folder, or None. "auto" takes the best RetinaFace whose file
    is there and the Haar cascades otherwise. Raises DetectorError for an unknown name and for weights that
    are missing or unfit.
    """
    if name not in DETECTORS:
        raise DetectorError(f"unknown detector {name!r}: choose one of {', '.join(DETECTORS)}")
    if name == "auto":
        name = next((key for key in RETINAFACE_FILES if _weights(key, face_weights).is_file()), "haar")
    if name == "haar":
        return HaarDetector()
    path = _weights(name, face_weights)
    if not path.is_file():
        raise DetectorError(
            f"{name} needs {path}: put facexlib's release file there, or choose --detector haar"
        )
    return RetinaFaceDetector(name, path)


def _weights(name: str, face_weights: Path | None) -> Path:
    return (face_weights or Path("face")) / RETINAFACE_FILES[name][0]


def _load(network: torch.nn.Module, name: str, path: Path) -> None:
    """Fill the network from facexlib's file, whose keys still carry DataParallel's `module.`"""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except (OSError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DetectorError(
            f"{path} does not hold weights of {name}: {reason}; fetch facexlib's file again"
        ) from error
