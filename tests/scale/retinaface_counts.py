"""What RetinaFace costs for one tile beside the arithmetic: operators, copies and waits, counted on the CPU.

    python -m tests.scale.retinaface_counts [TILES]

ResNet-50 with random weights finds faces in TILES (default 6, as a photo of 3,000 x 2,170 px has at its largest scale)
tiles of one size: one by one, then in one micro-batch. The size does not change the counts, so tiles are small.
Operators are what PyTorch dispatches, without views: on a GPU each is a launch or more. Copies to the device: calls of
`upload`. Waits: copies back, and numbers on which shapes depend. A second call is counted, with anchors that are there.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch

from pipeline.faces import retinaface
from pipeline.faces.detectors import load_detector
from pipeline.faces.retinaface import RetinaFaceDetector
from tests.scale.judge_counts import Counted
from tests.support.networks import write_retinaface
from tests.support.parts import listed

SIDE = 160


def counted(detector: RetinaFaceDetector, tiles: int) -> Counter[str]:
    pictures = list(np.random.default_rng(0).integers(0, 256, (tiles, SIDE, SIDE, 3)).astype(np.uint8))
    detector.detect(pictures, 1)
    counts: Counter[str] = Counter()

    def watched(kind: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            counts[kind] += 1
            return real(*args, **options)

        return call

    with (
        mock.patch.object(torch.Tensor, "cpu", watched("waits", torch.Tensor.cpu)),
        mock.patch.object(torch.Tensor, "nonzero", watched("waits", torch.Tensor.nonzero)),
        mock.patch.object(retinaface, "upload", watched("copies to the device", retinaface.upload)),
        # On the host, as on a GPU.
        mock.patch.object(retinaface, "alone", lambda rows: rows),
        Counted(counts),
    ):
        detector.detect(pictures, 1)
    return counts


def main(tiles: int) -> None:
    with TemporaryDirectory() as folder:
        write_retinaface(Path(folder), "retinaface_resnet50")
        detector = load_detector("retinaface_resnet50", listed(Path(folder)))
    assert isinstance(detector, RetinaFaceDetector)
    each = counted(detector, tiles)
    detector.batch_pixels = tiles * SIDE * SIDE
    together = counted(detector, tiles)
    for kind in ("operators", "copies to the device", "waits"):
        print(f"{kind}: {each[kind] / tiles:g} for a tile alone, {together[kind] / tiles:.3g} in {tiles} together")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
