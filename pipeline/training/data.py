"""Crops for training, from the same kinds of sources as a run's photos, streamed by Ray Data in an order set by a seed.

A training takes places 0, 1, 2, ... of an endless order: all crops once, shuffled, then again in a different order. The
crop, flip, degradation and noise of a place depend only on it and the seed, so neither the number of workers nor a
stop changes what an iteration sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import torch

from interlcm.degradation import lq_for
from interlcm.errors import TrainingError
from interlcm.pixels import to_pixels, to_tensor
from pipeline import storage
from pipeline.archives.compressed import COMPRESSIONS
from pipeline.archives.member import ArchiveError
from pipeline.archives.reader import read_rows
from pipeline.cluster import ray_data
from pipeline.config.limits import DEFAULTS
from pipeline.config.secrets import Environment
from pipeline.faces import alignment
from pipeline.index.files import parquet_files
from pipeline.photos.bit_depth import eight_bit
from pipeline.photos.errors import PhotoError
from pipeline.photos.view import view_of
from pipeline.sandbox import parent as sandbox
from pipeline.storage.output import Output
from pipeline.training.settings import TrainingSettings

Crop = npt.NDArray[np.uint8]
COLUMNS = ["photo_id", "source", "source_version", "archive_format", "member", "kind", "bytes", "offset"]
COLUMNS += ["stored_bytes", "compression", "crc32", "error_type"]


@dataclass(frozen=True)
class CropList:
    """Crops as index rows in the order of photo_id; the first `held_out` of them are not used for training."""

    rows: pa.Table
    held_out: int

    @property
    def digest(self) -> str:
        """Digest of the list: a changed list gives a different order, with which a stopped training cannot continue."""
        names = zip(self.rows["photo_id"].to_pylist(), self.rows["source_version"].to_pylist(), strict=True)
        return hashlib.sha256("\n".join(f"{name} {version}" for name, version in names).encode()).hexdigest()

    def place(self, seed: int, place: int, offset: int = 0) -> dict[str, Any]:
        """The index row at a place of the endless order, or `offset` rows after it."""
        count = self.rows.num_rows - self.held_out
        epoch, within = divmod(place, count)
        chosen = self.held_out + int(shuffled(count, seed, epoch)[(within + offset) % count])
        return self.held_row(chosen)

    def held_row(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self.rows.slice(number, 1).to_pylist()[0]
        return row


@lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def crop_list(output: str, held_out: int) -> CropList:
    """The crops in the index of a training. TrainingError if they are too few or cannot be used."""
    tables = [
        pq.read_table(pa.BufferReader(storage.read_bytes(storage.join(Output(output).index, file))), columns=COLUMNS)
        for file in parquet_files(output)
    ]
    rows = pa.concat_tables(tables)
    broken = rows.filter(pc.equal(rows["kind"], "archive"))
    if broken.num_rows:
        raise TrainingError(f"{broken['source'][0]} cannot be read to its end ({broken['error_type'][0]}); repair it")
    streams = rows.filter(pc.is_in(rows["archive_format"], pa.array(sorted(COMPRESSIONS))))
    if streams.num_rows:
        words = "is compressed as a whole, so its crops cannot be read in random order; pack it as .tar or .zip"
        raise TrainingError(f"{streams['source'][0]} {words}")
    rows = rows.filter(pc.and_(pc.equal(rows["kind"], "file"), pc.is_null(rows["error_type"]))).sort_by("photo_id")
    if rows.num_rows <= held_out:
        words = f"the sources hold {rows.num_rows} photos, and {held_out} are to be held out from training"
        raise TrainingError(f"{words}; name more, or lower held_out in the preset")
    return CropList(rows.combine_chunks(), held_out)


def place_seed(seed: int, place: int | str) -> int:
    """A seed of 63 bits for all random choices at one place."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:8], "big") >> 1


class CropReader:
    """Turns index rows into pairs of crops, in a task of Ray Data or elsewhere."""

    def __init__(self, crops: CropList, settings: TrainingSettings, size: int) -> None:
        self.crops, self.settings, self.size = crops, settings, size
        self._checked: set[str] = set()

    def training(self, place: int) -> dict[str, Any]:
        """hq and lq, (size, size, 3) uint8, seed of the noise, and left_out: why photos were skipped."""
        left_out: list[str] = []
        for offset in range(self.crops.rows.num_rows - self.crops.held_out):
            row = self.crops.place(self.settings.seed, place, offset)
            try:
                hq = self.crop(row)
            except (PhotoError, ArchiveError) as error:
                left_out.append(f"{row['member']}: {error}")
                continue
            return {**self.pair(hq, place, self.settings.flip), "left_out": "\n".join(left_out)}
        raise TrainingError(f"none of the photos can be used; the first: {left_out[0]}")

    def held_out(self) -> list[dict[str, Any]]:
        """The pairs that training never uses; their LQ is the same every time."""
        pairs: list[dict[str, Any]] = []
        left_out: list[str] = []
        for number in range(self.crops.held_out):
            row = self.crops.held_row(number)
            try:
                pairs.append(self.pair(self.crop(row), f"held-out {number}", flip=0.0))
            except (PhotoError, ArchiveError) as error:
                left_out.append(f"{row['member']}: {error}")
        if not pairs and left_out:
            raise TrainingError(f"none of the {len(left_out)} held-out photos can be used; the first: {left_out[0]}")
        return pairs

    def pair(self, hq: Crop, place: int | str, flip: float) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(place_seed(self.settings.seed, place))
        if float(torch.rand((), generator=generator)) < flip:
            hq = np.ascontiguousarray(hq[:, ::-1])
        lq = lq_for(self.settings.task, to_tensor(hq), self.settings.degradations, generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        return {"hq": hq, "lq": to_pixels(lq), "seed": seed}

    def crop(self, row: dict[str, Any]) -> Crop:
        """(size, size, 3) uint8 of one member. Raises PhotoError or ArchiveError for one that cannot be used."""
        # Whether the archive has changed since it was indexed is checked once, not for each of its crops.
        version = None if row["source"] in self._checked else row["source_version"]
        ((_, data),) = read_rows([{**row, "source_version": version}], DEFAULTS)
        if isinstance(data, ArchiveError):
            raise data
        self._checked.add(row["source"])
        seen = sandbox.run(view_of, data, DEFAULTS, limits=DEFAULTS)
        if seen.srgb is None:
            raise PhotoError("not_aligned", "several pictures in one file; training takes one square face crop in each")
        height, width = seen.srgb.shape[:2]
        if height != width:
            raise PhotoError("not_aligned", f"{width} x {height} px; training takes square face crops")
        pixels = alignment.cut(eight_bit(seen.srgb), alignment.whole(width, height, self.size), self.size)
        return np.rint(pixels).clip(0, 255).astype(np.uint8)


def batches(
    crops: ray.ObjectRef, settings: TrainingSettings, size: int, after: int, rank: int, workers: int,
    environment: Environment,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One worker's part of each iteration after the one given: hq, lq (n, size, size, 3) uint8, seed, left_out.

    crops: a CropList in Ray's object store. Tasks anywhere in the cluster read, decode and degrade crops ahead of
    demand.
    """
    ray_data.quiet().execution_options.preserve_order = True
    count = settings.recipe.iterations - after
    read = partial(
        read_iteration, crops=crops, settings=settings, size=size, after=after, rank=rank, workers=workers,
        environment=environment,
    )  # fmt: skip
    # A block is one iteration: small, so that many tasks prepare the next ones side by side.
    stream = ray.data.range(count, override_num_blocks=count).map_batches(read, batch_size=1)
    yield from stream.iter_batches(batch_size=settings.recipe.batch // workers, prefetch_batches=2)


def read_iteration(
    batch: dict[str, Any], *, crops: ray.ObjectRef, settings: TrainingSettings, size: int, after: int, rank: int,
    workers: int, environment: Environment,
) -> dict[str, Any]:  # fmt: skip
    """The crops of one iteration that one worker gets: consecutive places of the endless order."""
    environment.use()
    reader = CropReader(ray.get(crops), settings, size)
    own = settings.recipe.batch // workers
    first = (after + int(batch["id"][0])) * settings.recipe.batch + rank * own
    rows = [reader.training(place) for place in range(first, first + own)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
