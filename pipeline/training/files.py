"""The files of a training: checkpoints, logs for TensorBoard, sample grids, and in the end a weights folder.

OUTPUT/
  train.json               settings, sources, digests of the weights and of the crops
  index/*.parquet          the photos of the sources, as a run has them
  checkpoints/<n>.pt       the newest two
  tensorboard/             event files
  samples/<n>.png          held-out crops: LQ, restored, HQ
  weights/                 the result, a weights folder
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from interlcm.errors import TrainingError
from pipeline import storage

KEPT = 2  # checkpoints: the newest, and the one before it in case the newest is unusable


def checkpoint_uri(output: str, iteration: int) -> str:
    return storage.join(output, "checkpoints", f"{iteration:07d}.pt")


def checkpoints(output: str) -> list[int]:
    """The iterations with checkpoints, in their order."""
    folder = storage.join(output, "checkpoints")
    names = storage.list_files(folder) if storage.exists(folder) else []
    return sorted(int(name.removesuffix(".pt")) for name, _ in names if name.endswith(".pt"))


def save_checkpoint(output: str, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all, and delete those that are no longer needed."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    storage.write_bytes(checkpoint_uri(output, state["iteration"]), buffer.getvalue())
    for iteration in checkpoints(output)[:-KEPT]:
        storage.remove(checkpoint_uri(output, iteration))


def load_checkpoint(output: str) -> dict[str, Any] | None:
    """The newest checkpoint, on the CPU; None if there is none."""
    found = checkpoints(output)
    if not found:
        return None
    data = storage.read_bytes(checkpoint_uri(output, found[-1]))
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def write_samples(output: str, iteration: int, columns: list[npt.NDArray[np.uint8]]) -> None:
    """Write a PNG with a row for each crop and the columns (N, S, S, 3) side by side."""
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(np.concatenate(columns, axis=2)))).save(buffer, "PNG")
    storage.write_bytes(storage.join(output, "samples", f"{iteration:07d}.png"), buffer.getvalue())


def publish_folder(local: Path, uri: str, last: str) -> None:
    """Copy a local folder to a URI, file by file; a copy without the file `last` is not complete."""
    paths = sorted(path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file())
    for path in [*(path for path in paths if path != last), last]:
        storage.put_file(storage.join(uri, path), local / path)


class EventLog:
    """Event files of one attempt. They are written here and copied to OUTPUT: object storage cannot append."""

    def __init__(self, output: str, after: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here: it takes a second, and only one worker writes

        self._folder = TemporaryDirectory(prefix="interlcm-events-")
        self._output = output
        # Entries that an earlier attempt logged after its last checkpoint are not shown twice.
        self._writer = SummaryWriter(self._folder.name, purge_step=after + 1 if after else None)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)

    def publish(self) -> None:
        self._writer.flush()
        for path in sorted(Path(self._folder.name).iterdir()):
            storage.put_file(storage.join(self._output, "tensorboard", path.name), path)

    def close(self) -> None:
        self.publish()
        self._writer.close()
        self._folder.cleanup()


def record(output: str, about: dict[str, Any]) -> None:
    """Write train.json; TrainingError if OUTPUT holds a different training."""
    uri = storage.join(output, "train.json")
    about = json.loads(json.dumps(about))  # as it will be read: tuples are lists
    if not storage.exists(uri):
        storage.write_bytes(uri, (json.dumps(about, indent=2) + "\n").encode())
        return
    before = json.loads(storage.read_bytes(uri))
    changed = sorted(name for name in {*about, *before} if about.get(name) != before.get(name))
    if changed:
        words = f"was begun with other {', '.join(changed)}"
        raise TrainingError(f"{output} {words}; name a new --output, or use the original ones")
