"""A plain loop, as in scripts for single images: read, detect, align, restore one by one, paste, write.

python -m pipeline.benchmark.loop FOLDER OUTPUT [WEIGHTS]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import cv2
import torch

from interlcm.model import InterLCM
from interlcm.pixels import to_pixels, to_tensor
from interlcm.weights_index import DEMO_WEIGHTS, opened
from pipeline.config.limits import DEFAULTS
from pipeline.faces import alignment, pasting
from pipeline.faces.detectors import load_detector
from pipeline.faces.search import search


def main(source: str, output: str, weights: str = str(DEMO_WEIGHTS)) -> None:
    parts = opened(weights)
    size = int(parts.index["image_size"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = InterLCM.from_pretrained(parts).to(device)
    detector = load_detector("auto", parts)
    Path(output).mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(source).iterdir()):
        photo: Any = cv2.cvtColor(cast(Any, cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        for found in search(detector, photo, 24, DEFAULTS.detect_pixels).faces:
            crop, matrix = alignment.align(photo, found.landmarks, size)
            restored = model.restore(to_tensor(crop, device)[None])[0]
            pasting.paste(photo, to_pixels(restored), matrix)
        cv2.imwrite(str(Path(output) / path.name), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main(*sys.argv[1:])
