"""What judging one face costs beside the arithmetic: operators, copies and waits, counted on the CPU.

    python -m tests.scale.judge_counts [FACES]

Random weights in facexlib's shapes; a restore actor with the tests' tiny model restores FACES (default 4) faces of one
colour photo, once with judges and once without. The difference is what the judges cost. Operators are what PyTorch
dispatches, without views: on a GPU each is a launch or more. Copies to the device: calls of `upload`, `torch.tensor`
with a device, and NumPy arrays that are sent there. Waits: copies back, and numbers that Python reads from a tensor.
Then the arithmetic of each network for one face.
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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from interlcm.device import Download
from pipeline.config.resources import Resources
from pipeline.networks.facexlib import PARSE_SIZE, FaceNetworks
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Row
from tests.support import tiny
from tests.support.networks import list_files, write_face_networks
from tests.support.stages import job, photo_row, rows_of

VIEWS = ("view", "reshape", "permute", "transpose", "slice", "select", "expand", "alias", "detach", "squeeze", "split",
         "unbind", "as_strided", "movedim", "_unsafe_view", "t.default", "chunk", "unfold")  # fmt: skip


class Counted(TorchDispatchMode):
    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        if not name.startswith(VIEWS) and not name.startswith("unsqueeze"):
            self.counts["operators"] += 1
        return func(*args, **(kwargs or {}))


def counted(stage: RestoreFaces, photo: Row) -> Counter[str]:
    counts: Counter[str] = Counter()

    def watched(kind: str, real: Any, only_with: str = "") -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if not only_with or options.get(only_with) is not None:
                counts[kind] += 1
            return real(*args, **options)

        return call

    names = {"cpu": torch.Tensor.cpu, "item": torch.Tensor.item, "__float__": torch.Tensor.__float__,
             "tolist": torch.Tensor.tolist}  # fmt: skip
    patches: list[Any] = [mock.patch.object(torch.Tensor, name, watched("waits", real)) for name, real in names.items()]
    patches.append(mock.patch.object(torch, "tensor", watched("copies to the device", torch.tensor, "device")))
    patches.append(mock.patch.object(Download, "numpy", watched("waits", Download.numpy)))
    for module in ("interlcm.pixels", "interlcm.model", "pipeline.stages.restore", "pipeline.stages.in_flight"):
        if hasattr(sys.modules[module], "upload"):
            real = getattr(sys.modules[module], "upload")  # noqa: B009
            patches.append(mock.patch(f"{module}.upload", watched("copies to the device", real)))
    patches.append(mock.patch.object(torch, "from_numpy", watched("NumPy arrays taken", torch.from_numpy)))
    with Counted(counts):
        for patch in patches:
            patch.start()
        try:
            rows_of(stage, [photo])
        finally:
            mock.patch.stopall()
    return counts


def photo_of(faces: int) -> Row:
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (faces, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3)).astype(np.uint8)
    found = {"score": 1.0, "box": [0, 0, 1, 1], "landmarks": [0] * 10, "matrix": [1, 0, 0, 0, 1, 0]}
    rows = [{**found, "seed": n, "one_tone": False, "strength": 1.0} for n in range(faces)]
    return photo_row("a.jpg", b"bytes", faces=rows, crops=crops.tobytes(), bit_depth=8)


def arithmetic(judges: FaceNetworks) -> dict[str, float]:
    """GFLOP of each network for one face of the published size."""
    face = torch.zeros(1, 3, PARSE_SIZE, PARSE_SIZE)
    with FlopCounterMode(display=False) as counter:
        judges.judge(face, face, parse=True)
    found = {name: sum(by_kind.values()) / 1e9 for name, by_kind in counter.get_flop_counts().items()}
    return {name: found[name] for name in ("ParseNet", "HyperIQA", "Backbone")}  # Backbone: of ArcFace


def main(faces: int) -> None:
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        tiny.weights_folder(weights)
        none = RestoreFaces(job(folder, str(weights)), Resources())
        write_face_networks(weights)
        list_files(weights)
        judged = RestoreFaces(job(folder, str(weights)), Resources())
        none.batch_faces = judged.batch_faces = faces
        without, with_judges = counted(none, photo_of(faces)), counted(judged, photo_of(faces))
        work = arithmetic(judged.judge)
    for kind in ("operators", "copies to the device", "NumPy arrays taken", "waits"):
        print(f"{kind}: {(with_judges[kind] - without[kind]) / faces:g} for each face of {faces}")
    parts = ", ".join(f"{name} {gflop:.0f}" for name, gflop in work.items())
    print(f"GFLOP: {sum(work.values()):.0f} for one face ({parts})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
