"""Finding faces: facexlib's RetinaFace when its weights are there, OpenCV's Haar cascades otherwise.

Both give the same `Face`: box, five landmarks, score. Haar needs no download, finds upright frontal faces.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pipeline.faces.face import DetectorError
from pipeline.faces.haar import HaarDetector

if TYPE_CHECKING:
    from pipeline.faces.retinaface import RetinaFaceDetector

# facexlib's release files (github.com/xinntao/facexlib, release v0.1.0) and the network each belongs to, best
# first.
RETINAFACE_FILES = {
    "retinaface_resnet50": ("detection_Resnet50_Final.pth", "resnet50"),
    "retinaface_mobile0.25": ("detection_mobilenet0.25_Final.pth", "mobile0.25"),
}
DETECTORS = ("auto", *RETINAFACE_FILES, "haar")

Detector: TypeAlias = "HaarDetector | RetinaFaceDetector"


def load_detector(name: str, face_weights: Path | None, device: str = "cpu") -> Detector:
    """The detector called `name` (one of DETECTORS).

    face_weights: the `face` folder of a weights folder, or None. device: of a RetinaFace, "cpu" or "cuda". "auto" takes
    the best RetinaFace whose file is there and the Haar cascades otherwise. Raises DetectorError for an unknown name
    and for weights that are missing or unfit.
    """
    if name not in DETECTORS:
        raise DetectorError(f"unknown detector {name!r}: choose one of {', '.join(DETECTORS)}")
    if name == "auto":
        name = next((key for key in RETINAFACE_FILES if _weights(key, face_weights).is_file()), "haar")
    if name == "haar":
        return HaarDetector()
    path = _weights(name, face_weights)
    if not path.is_file():
        raise DetectorError(f"{name} needs {path}: put facexlib's release file there, or choose --detector haar")
    from pipeline.faces.retinaface import RetinaFaceDetector

    return RetinaFaceDetector(name, RETINAFACE_FILES[name][1], path, device)


def _weights(name: str, face_weights: Path | None) -> Path:
    return (face_weights or Path("face")) / RETINAFACE_FILES[name][0]
