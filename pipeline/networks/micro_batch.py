"""The largest micro-batch that fits a GPU, found once for each kind of GPU and model, and remembered on the node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.storage.local_disk import appearing

# Tried first, then half of it and so on. At the published size 32 faces are 220 TFLOP, a third of a second on the
# largest GPUs: the time to start the kernels is negligible, and a larger batch is harder to fill.
MOST = 32
FOLDER = Path.home() / ".cache" / "interlcm" / "batch_faces"


def largest(fits: Callable[[int], bool], about: dict[str, Any], most: int = MOST, folder: Path = FOLDER) -> int:
    """Faces in a micro-batch: `most`, or the first of its halves that fits; 1 if none does.

    about: what the number depends on: GPU, memory, model, dtype. It is determined once for each, on each node; delete
    the file in `folder` to repeat this.
    """
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"{name}.json"
    if file.exists():
        return int(json.loads(file.read_text())["batch_faces"])
    size = most
    while size > 1 and not fits(size):
        size //= 2
    with appearing(file) as temporary:
        temporary.write_text(json.dumps({**about, "batch_faces": size}, indent=2) + "\n")
    return size
