"""RetinaFace (arXiv 1905.00641) with facexlib's networks; views of one size go through the network together.

This is a separate module because importing torch and facexlib costs a worker seconds and 600 MB, which the other
detectors do not need.
"""

from __future__ import annotations

import io
import math
import pickle
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.detection.retinaface_utils import decode, decode_landm
from torch import Tensor
from torchvision.ops import nms

from interlcm.device import place, upload
from interlcm.weights_index import Parts
from pipeline.faces.alignment import Pixels
from pipeline.faces.face import DetectorError, Face, Reach, suppress

Rows = npt.NDArray[np.float32]

OVERLAP = 0.4  # boxes of one face overlap by more: the default of facexlib's `detect_faces`
# Memory of a micro-batch on a GPU, bytes a pixel: 300 measured on a CPU with ResNet-50, the rest for the workspaces of
# kernels. Its share of the GPU's memory: four detectors may share a GPU, each with weights and a CUDA context.
BYTES_A_PIXEL, MEMORY = 512, 1 / 8
MOST = 8  # views of full size in a micro-batch; a photo has a few


@lru_cache(maxsize=16)  # a view of 1600 px has 0.4 million numbers
def priors(
    min_sizes: tuple[tuple[int, ...], ...], steps: tuple[int, ...], size: tuple[int, int], device: torch.device
) -> Tensor:
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
    return upload(torch.from_numpy(np.concatenate(levels).astype(np.float32)), device)


class RetinaFaceDetector:
    """One of facexlib's networks, "resnet50" or "mobile0.25", from a weights folder, never downloaded.

    On a GPU, views of one size share micro-batches. They are views of one photo, so its faces do not depend on other
    photos. On a CPU each view is alone: four together take 1.1 times as long for each.
    """

    # CodeFormer's threshold, which the published results of InterLCM used; facexlib's default is 0.97.
    CONFIDENCE = 0.8
    # Anchors are 16 to 512 px wide. A pixel takes a hundred times as long as with YuNet on a CPU, a few times on a GPU.
    reach = Reach(smallest=16, view=1600, share=1 / 8)

    def __init__(self, name: str, network: str, parts: Parts, path: str, device: str = "cpu") -> None:
        """device: torch's name for it. The caller chooses: Ray shows all GPUs even to an actor that asked for none."""
        self.name = name
        self._network = RetinaFace(network_name=network, half=False, device=torch.device("cpu"))
        _load(self._network, name, parts, path)
        config = self._network.cfg
        self._anchors = tuple(map(tuple, config["min_sizes"])), tuple(config["steps"])
        self._variance = config["variance"]
        self._on(torch.device(device))

    def _on(self, device: torch.device) -> None:
        """Work on this device; on a GPU beside the queue of kernels of a model in the same process.

        Sets `batch_pixels`, the most pixels in a micro-batch.
        """
        self._device, self._network = device, place(self._network.eval(), device, torch.float32)
        self._mean = self._network.mean_tensor.to(device)
        self._stream, self.batch_pixels = None, 1
        if device.type == "cuda":
            self._stream = torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())  # for the weights
            memory = torch.cuda.get_device_properties(device).total_memory
            self.batch_pixels = min(int(memory * MEMORY / BYTES_A_PIXEL), MOST * self.reach.view**2)

    def detect(self, views: Sequence[Pixels], min_face: int) -> list[list[Face]]:
        """For each view (H, W, 3) uint8 RGB, upright: faces at least min_face px wide, best score first."""
        alike = defaultdict(list)
        for n, view in enumerate(views):
            alike[view.shape].append(n)
        found: dict[int, list[Face]] = {}
        for (height, width, _), places in alike.items():
            while places:
                count = max(1, self.batch_pixels // (height * width))  # each time: it may have become less
                batch, places = places[:count], places[count:]
                rows = self._rows([views[n] for n in batch])
                found |= {n: faces_of(each, min_face) for n, each in zip(batch, rows, strict=True)}
        return [found[n] for n in range(len(views))]

    def _rows(self, views: list[Pixels]) -> list[Rows]:
        """`_hits` of each view. If memory runs out, micro-batches become half as large, and a single view goes to the
        CPU, as do all after it."""
        try:
            return self._hits(views)
        except torch.OutOfMemoryError:  # what failed is freed when this block ends
            half = len(views) // 2
        if half:
            self.batch_pixels //= 2
            return self._rows(views[:half]) + self._rows(views[half:])
        words = "the GPU has too little memory for RetinaFace, which goes on on the CPU"
        print(f"warning: {words}", file=sys.stderr, flush=True)
        self._on(torch.device("cpu"))
        return self._hits(views)

    @torch.inference_mode()
    def _hits(self, views: list[Pixels]) -> list[Rows]:
        """(N, 15) for each view (H, W, 3), all of one size: box, score and landmarks (px) of its faces, unordered.

        One copy to the device. The host waits twice: for the number of hits, and for the hits.
        """
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            pixels = upload(torch.from_numpy(np.stack(views)), self._device)
            boxes, classes, points = self._network(pixels.flip(-1).permute(0, 3, 1, 2) - self._mean)  # BGR
            at = (classes[..., 1] > self.CONFIDENCE).nonzero(as_tuple=True)  # view and anchor of each hit
            height, width = views[0].shape[:2]
            anchors = priors(*self._anchors, (height, width), self._device)[at[1]]
            box = decode(boxes[at], anchors, self._variance)
            landmarks = decode_landm(points[at], anchors, self._variance)
            hits = torch.cat([at[0][:, None], box, classes[..., 1:][at], landmarks], 1).cpu().numpy()
        places, rows = hits[:, 0], hits[:, 1:]
        rows[:, [0, 2, *range(5, 15, 2)]] *= width
        rows[:, [1, 3, *range(6, 15, 2)]] *= height
        return [alone(rows[places == n]) for n in range(len(views))]


def alone(rows: Rows) -> Rows:
    """The best of all rows (N, 15) that overlap."""
    boxes, scores = torch.from_numpy(rows[:, :4]), torch.from_numpy(rows[:, 4])
    return rows[nms(boxes, scores, OVERLAP).numpy()]


def faces_of(rows: Rows, min_face: int) -> list[Face]:
    """The faces of rows (N, 15) that are at least min_face px wide."""
    faces = [
        Face(
            box=(float(row[0]), float(row[1]), float(row[2]), float(row[3])),
            landmarks=row[5:].reshape(5, 2),
            score=float(row[4]),
        )
        for row in rows
    ]
    return suppress(face for face in faces if face.width >= min_face)


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
