"""How many tiles a second RetinaFace takes here, one by one and in micro-batches.

    python -m tests.scale.retinaface_rate [--to FILE] [--sides 1600,400] [--batches 1,4,8,16] [--network resnet50]

Random weights; on a GPU if there is one. Each row is a call of the detector with as many tiles as the largest
micro-batch has, repeated for a second at least: the copy to the device, the network, the hits. The last column
compares scores with those of tiles one by one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from jobs.benchmark.figures import Live, numbers
from pipeline.benchmark.model import peak, restart_peak
from pipeline.faces.detectors import load_detector
from pipeline.faces.retinaface import RetinaFaceDetector
from tests.support.networks import write_retinaface
from tests.support.parts import listed

SECONDS = 1.0
CERTAIN = (0.9999, 0.999, 0.99, 0.9, 0.8, 0.7, 0.6)  # thresholds; random weights are sure of everything or of nothing


def measured(detector: RetinaFaceDetector, side: int, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiles = list(np.random.default_rng(0).integers(0, 256, (max(batches), side, side, 3), np.uint8))
    one_by_one: list[float] = []
    for detector.CONFIDENCE in CERTAIN:  # as in a photo, there are hits, but so few that the host's part is small
        if any(detector.detect(tiles[:1], 1)):
            break
    for batch in batches:
        detector.batch_pixels = batch * side * side
        restart_peak(device)
        best = [max((face.score for face in faces), default=0.0) for faces in detector.detect(tiles, 1)]
        one_by_one = one_by_one or best
        begun, times = time.perf_counter(), 0
        while time.perf_counter() < begun + SECONDS:
            detector.detect(tiles, 1)
            times += 1
        seconds = (time.perf_counter() - begun) / (times * len(tiles))
        most = peak(device)
        yield {
            "px": side, "micro-batch": batch, "s/tile": seconds, "tiles/s": 1 / seconds, "peak GB": most,
            "in the end": detector.batch_pixels // side**2,  # less if memory did not suffice
            "score moves by": max(abs(one - two) for one, two in zip(best, one_by_one, strict=True)),
        }  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--to", default="")
    words.add_argument("--sides", default="1600,400")
    words.add_argument("--batches", default="1,4,8,16")
    words.add_argument("--network", default="resnet50", choices=("resnet50", "mobile0.25"))
    asked = words.parse_args()
    name, live = f"retinaface_{asked.network}", Live(asked.to)
    with TemporaryDirectory() as folder:
        write_retinaface(Path(folder), name)
        detector = load_detector(name, listed(Path(folder)), "cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(detector, RetinaFaceDetector)
    print(f"a micro-batch has at most {detector.batch_pixels:,} px here")
    for side in numbers("--sides", asked.sides):
        for row in measured(detector, side, numbers("--batches", asked.batches)):
            live.add("Tiles", row)
    live.finish()


if __name__ == "__main__":
    main()
