"""Stand-ins for what needs a GPU: faces that are placed, not found, and a model that waits and does nothing.

Everything around them is real: decoding in the sandbox, aligning, batching, pasting, scoring, encoding,
publishing.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.faces import alignment
from pipeline.faces.alignment import Pixels
from pipeline.faces.face import Face
from pipeline.faces.search import Found
from pipeline.networks.facexlib import FaceNetworks
from pipeline.stages.detect import DetectFaces
from pipeline.stages.in_flight import InFlight
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Crops

FACES = (2, 3)  # of a photo


class Placed:
    """A detector that finds two or three faces side by side, whatever the photo shows."""

    name = "placed"

    def detect(self, pixels: Pixels, min_face: int) -> list[Face]:
        height, width = pixels.shape[:2]
        side = min(height, width) / 4
        count = FACES[hashlib.blake2b(pixels[:1].tobytes()).digest()[0] % len(FACES)]
        found = []
        for n in range(count):
            corner = np.array([width * (n + 0.5) / count - side / 2, height / 3])
            points = (alignment.TEMPLATE * (side / alignment.TEMPLATE_SIZE) + corner).astype(np.float32)
            found.append(Face((*corner, *(corner + side)), points, 0.9))
        return found


class PlacedFaces(DetectFaces):
    """The second stage with placed faces and crops of `size` px."""

    def __init__(self, job: Job, size: int) -> None:
        job.environment.use()
        self.size, self.settings, self.limits = size, job.settings, job.settings.limits
        self.detector = cast(Any, Placed())

    def seen(self, pixels: Pixels) -> Found:
        return Found(Placed().detect(pixels, self.settings.min_face))


@dataclass(frozen=True)
class Call:
    """A micro-batch, or a call of the stage: its actor, start and end (seconds of the clock), faces and places."""

    actor: int
    begun: float
    ended: float
    faces: int = 0
    places: int = 0


class Timesheet:
    """Actor: records the micro-batches of the stand-in models, and the calls of the stage around these."""

    def __init__(self) -> None:
        self._micro_batches: list[Call] = []
        self._calls: list[Call] = []

    def add(self, call: Call, whole: bool = False) -> None:
        (self._calls if whole else self._micro_batches).append(call)

    def micro_batches(self) -> list[Call]:
        return self._micro_batches

    def calls(self) -> list[Call]:
        return self._calls


class TimedRestore(RestoreFaces):
    """The third stage with a model that returns each micro-batch after `seconds`, as a GPU would."""

    def __init__(self, job: Job, resources: Resources, seconds: float, sheet: Any) -> None:
        job.environment.use()
        torch.set_num_threads(1)
        self.settings, self.batch_faces = job.settings, resources.batch_faces
        self.device, self.background = torch.device("cpu"), None
        self.judge, self.overlaps = FaceNetworks(None), False
        self.seconds, self.sheet = seconds, sheet

    def __call__(self, table: pa.Table) -> pa.Table:
        begun = time.time()
        made = super().__call__(table)
        self.sheet.add.remote(Call(os.getpid(), begun, time.time()), whole=True)
        return made

    def launched(
        self, crops: Sequence[Crops], seeds: Sequence[int], monochrome: Sequence[bool], strengths: Sequence[float]
    ) -> InFlight:
        self.faces = len(crops)
        return super().launched(crops, seeds, monochrome, strengths)

    def micro_batch(self, lq: Tensor, seeds: list[int]) -> Tensor:
        begun = time.time()
        time.sleep(self.seconds)
        self.sheet.add.remote(Call(os.getpid(), begun, time.time(), self.faces, self.batch_faces))
        return lq
