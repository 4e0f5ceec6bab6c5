"""How far the judges' masks and measures move in half precision.

    python -m tests.scale.judge_precision [WEIGHTS] [DTYPE]

The networks in face/ of the folder WEIGHTS (default: random weights, which are undecided between classes where trained
ones are not) judge two portraits and blurred copies of them: in float32, and under autocast in DTYPE (default
bfloat16), on a GPU if there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from interlcm.pixels import to_tensor
from pipeline.networks.facexlib import FaceNetworks
from tests.support.networks import write_face_networks
from tests.support.parts import listed
from tests.support.pictures import astronaut, hopper, resized

SIDE = 512


def main(folder: Path, dtype: torch.dtype) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = np.stack([resized(face, SIDE)[:SIDE] for face in (astronaut(200), hopper(200))])
    blurred = np.stack([cv2.GaussianBlur(face, (0, 0), 4) for face in faces])
    judge = FaceNetworks(listed(folder, "face"), device)
    lq, restored = to_tensor(blurred, device), to_tensor(faces, device)
    masks, exact = judge.judge(lq, restored, True).sent().read()
    with torch.autocast(device.type, dtype):
        other, half = judge.judge(lq, restored, True).sent().read()
    if masks is not None and other is not None:
        print(f"mask pixels that change: {100 * (masks != other).mean():.3f} %")
    for name in exact[0]:
        moves = [abs(one[name] - two[name]) for one, two in zip(exact, half, strict=True)]
        print(f"{name}: moves by {max(moves):.4f}; float32: {', '.join(f'{one[name]:.4f}' for one in exact)}")


if __name__ == "__main__":
    kind = getattr(torch, sys.argv[2] if len(sys.argv) > 2 else "bfloat16")
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), kind)
    else:
        with TemporaryDirectory() as made:
            write_face_networks(Path(made))
            main(Path(made), kind)
