"""RetinaFace (arXiv 1905.00641) as facexlib ships it.

This is a separate module because importing torch and facexlib costs a worker seconds and 600 MB, which the other
detectors do not need.
"""

from __future__ import annotations

import io
import math
import pickle
import sys
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from facexlib.detection import retinaface
from facexlib.detection.retinaface import RetinaFace
from torch import Tensor

from interlcm.weights_index import Parts
from pipeline.faces.alignment import Pixels
from pipeline.faces.face import DetectorError, Face, Reach, suppress


class Priors:
    """Takes the place of facexlib's PriorBox, which fills a Python list anchor by anchor at each call."""

    def __init__(self, cfg: dict[str, Any], image_size: tuple[int, int]) -> None:
        self._about = (tuple(map(tuple, cfg["min_sizes"])), tuple(cfg["steps"]), tuple(image_size), bool(cfg["clip"]))

    def forward(self) -> Tensor:
        return priors(*self._about)


retinaface.PriorBox = Priors  # `RetinaFace.detect_faces` makes one for each picture and takes no other


@lru_cache(maxsize=16)  # a tile of 1600 px has 0.8 million numbers
def priors(min_sizes: tuple[tuple[int, ...], ...], steps: tuple[int, ...], size: tuple[int, int], clip: bool) -> Tensor:
    """(N, 4): middle x and y, width and height of each anchor as shares of the picture; row by row for each step, and
    at each place one for each of the step's sizes. size: height and width, px."""
    height, width = size
    levels = []
    for sizes, step in zip(min_sizes, steps, strict=True):
        y = (np.arange(math.ceil(height / step)) + 0.5) * step / height
        x = (np.arange(math.ceil(width / step)) + 0.5) * step / width
        wide, high = np.array(sizes) / width, np.array(sizes) / height
        grid = np.broadcast_arrays(x[None, :, None], y[:, None, None], wide, high)
        levels.append(np.stack(grid, -1).reshape(-1, 4))
    made = torch.from_numpy(np.concatenate(levels).astype(np.float32))
    return made.clamp(0, 1) if clip else made


class RetinaFaceDetector:
    """One of facexlib's networks, "resnet50" or "mobile0.25", from a weights folder, never downloaded."""

    # CodeFormer's threshold, which the published results of InterLCM used; facexlib's default is 0.97.
    CONFIDENCE = 0.8
    # Anchors are 16 to 512 px wide. A pixel takes a hundred times as long as with YuNet on a CPU, a few times on a GPU.
    reach = Reach(smallest=16, view=1600, share=1 / 8)

    def __init__(self, name: str, network: str, parts: Parts, path: str, device: str = "cpu") -> None:
        """device: torch's name for it. The caller chooses: Ray shows all GPUs even to an actor that asked for none."""
        self.name = name
        self._network = RetinaFace(network_name=network, half=False, device=torch.device("cpu"))
        _load(self._network, name, parts, path)
        self._network.eval()
        self._on(torch.device(device))

    def _on(self, device: torch.device) -> None:
        """Work on this device; on a GPU beside the queue of kernels of a model in the same process."""
        network = self._network.to(device)
        network.device, network.mean_tensor = device, network.mean_tensor.to(device)
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())  # for the weights

    def detect(self, pixels: Pixels, min_face: int) -> list[Face]:
        """Faces at least min_face px wide, best score first. pixels: (H, W, 3) uint8 RGB, upright."""
        image = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        try:
            rows = self._rows(image)
        except torch.OutOfMemoryError:
            words = "the GPU has too little memory for RetinaFace, which goes on on the CPU"
            print(f"warning: {words}", file=sys.stderr, flush=True)
            self._on(torch.device("cpu"))
            rows = self._rows(image)
        faces = [
            Face(
                box=(float(row[0]), float(row[1]), float(row[2]), float(row[3])),
                landmarks=row[5:15].reshape(5, 2).astype(np.float32),
                score=float(np.clip(score, 0, 1)),
            )
            for row, score in zip(rows, rows[:, 4], strict=True)
        ]
        return suppress(face for face in faces if face.box[2] - face.box[0] >= min_face)

    def _rows(self, image: Any) -> Any:
        """(N, 15): box, score, landmarks of each face in a picture (H, W, 3) uint8 BGR."""
        with torch.inference_mode(), torch.cuda.stream(self._stream) if self._stream else nullcontext():
            return self._network.detect_faces(image, conf_threshold=self.CONFIDENCE)


def _load(network: torch.nn.Module, name: str, parts: Parts, path: str) -> None:
    """Load facexlib's file into the network; its keys still have DataParallel's prefix `module.`"""
    data = parts.read(path)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except (RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        file = parts.folder / path
        raise DetectorError(f"{file} does not hold weights of {name}: {reason}; fetch facexlib's file again") from error
