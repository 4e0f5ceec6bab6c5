"""The largest micro-batch that fits a GPU, found once for each kind of GPU and model, and remembered on the node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.storage.local_disk import appearing

# Tried first. At the published size 32 faces are 220 TFLOP, a third of a second on the largest GPUs: the time to start
# the kernels is negligible, and a larger batch is harder to fill.
MOST = 32
# At 32 faces of 512 px a tensor of the VAE (256 channels of 512 x 512) has 2^31 elements, one more than kernels with
# 32-bit indices take. So 31 is tried after 32.
AFTER_MOST = 31
FOLDER = Path.home() / ".cache" / "interlcm" / "batch_faces"


def candidates(most: int) -> list[int]:
    """Sizes to try: `most` (31 after 32), then halves: 32, 31, 16, 8, 4, 2, 1."""
    halves = [most >> n for n in range(most.bit_length())]
    return sorted({*halves, *([AFTER_MOST] if most == MOST else [])}, reverse=True)


def largest(fits: Callable[[int], bool], about: dict[str, Any], most: int = MOST, folder: Path = FOLDER) -> int:
    """Faces in a micro-batch: the first of the `candidates` that fits; 1 if none does.

    about: what the number depends on: GPU, memory, model, dtype. It is determined once for each, on each node; delete
    the file in `folder` to repeat this.
    """
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"{name}.json"
    if file.exists():
        return int(json.loads(file.read_text())["batch_faces"])
    size = next((size for size in candidates(most) if size == 1 or fits(size)), 1)
    with appearing(file) as temporary:
        temporary.write_text(json.dumps({**about, "batch_faces": size}, indent=2) + "\n")
    return size


def largest_on_gpu(
    fits: Callable[[int], bool], about: dict[str, Any], most: int, share: float, keep: bool, folder: Path = FOLDER
) -> int:
    """`largest` for this process's GPU; an actor with a share of a GPU below 1 tries only this share of its memory.

    keep: the process keeps to its share afterwards.
    """
    import torch  # late: the driver, which needs only MOST, does without

    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share)
    about = about | {
        "gpu": torch.cuda.get_device_name(),
        "memory": torch.cuda.get_device_properties(0).total_memory,
        "gpus_per_actor": share,
        "torch": torch.__version__,
        "most": most,
    }
    found = largest(fits, about, most, folder)
    if share < 1 and not keep:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return found
