"""RetinaFace (arXiv 1905.00641) as facexlib ships it.

A module of its own because torch and facexlib cost a worker seconds and 600 MB; the Haar cascades do without.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
from facexlib.detection.retinaface import RetinaFace

from pipeline.faces.alignment import Pixels
from pipeline.faces.face import DetectorError, Face, shrink, suppress


class RetinaFaceDetector:
    """One of facexlib's networks, "resnet50" or "mobile0.25", loaded from a local file, never downloaded."""

    # facexlib's own threshold for restoration (face_restoration_helper.py) and its bound on the long side
    # (retinaface.py).
    CONFIDENCE = 0.97
    LONGEST_SIDE = 2150
    # facexlib's helper looks at a 640 px short side. The largest anchor is 512 px, so a face that fills a big
    # scan is only found there; small faces only in the large view.
    OVERVIEW_SIDE = 640

    def __init__(self, name: str, network: str, path: Path, device: str = "cpu") -> None:
        """device: as torch names it. Ray shows an actor that asked for no GPU all of them, so none is taken here."""
        self.name = name
        self._device = torch.device(device)
        self._network = RetinaFace(network_name=network, half=False, device=self._device)
        _load(self._network, name, path)
        self._network.eval().to(self._device)

    def detect(self, pixels: Pixels, min_face: int) -> list[Face]:
        """Faces of at least min_face px across, best score first. pixels: (H, W, 3) uint8 RGB, upright."""
        height, width = pixels.shape[:2]
        large = min(1.0, self.LONGEST_SIDE / max(height, width))
        overview = min(large, self.OVERVIEW_SIDE / min(height, width))
        faces = [face for scale in sorted({large, overview}) for face in self._detect_at(pixels, scale)]
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


def _load(network: torch.nn.Module, name: str, path: Path) -> None:
    """Fill the network from facexlib's file, whose keys still carry DataParallel's `module.`"""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except (OSError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DetectorError(f"{path} does not hold weights of {name}: {reason}; fetch facexlib's file again") from error
