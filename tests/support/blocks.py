"""How Ray Data passes photos on from stage to stage: in which blocks, and how many of them come in a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.index.units import PLACE, Pending
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import Stage
from pipeline.stages.fetch import BLOCK_PHOTOS
from pipeline.stages.row import ended, to_table
from tests.support.stages import photo_row

TOO_LARGE = 1.5  # a block of so many times the bytes that it should have is cut


@dataclass(frozen=True)
class Photo:
    """What a photo weighs between the stages. data: bytes of its file. crop: bytes of the crop of a face."""

    data: int
    faces: int
    crop: int

    @property
    def found(self) -> int:
        """Bytes after detect. A photo without a face has its result, and goes on without its file."""
        return self.data + self.faces * self.crop if self.faces else 0


Photos = list[Photo]


def drawn(count: int, mean: float, crop: int, faces: float = 2.0, seed: int = 0) -> Photos:
    """Photos of half to one and a half times `mean` bytes, with so many faces on average."""
    chance = np.random.default_rng(seed)
    data = chance.uniform(0.5 * mean, 1.5 * mean, count)
    return [Photo(int(size), int(n), crop) for size, n in zip(data, chance.poisson(faces, count), strict=True)]


def calls(units: Iterable[Photos], sizes: BatchSizes) -> Iterator[Photos]:
    """The photos of each call of a restore actor, if the photos are read and searched one after another."""
    waiting: Photos = []
    for unit in units:
        for read in shaped(fetched(unit, sizes.block_bytes), sizes.block_bytes, lambda photo: photo.data):
            for block in shaped(([photo] for photo in read), sizes.block_bytes, lambda photo: photo.found):
                waiting += block
                if len(waiting) >= sizes.call_photos:
                    yield waiting
                    waiting = []
    if waiting:
        yield waiting


def fetched(photos: Photos, block_bytes: int) -> Iterator[Photos]:
    """The tables that fetch yields for a unit of these photos."""
    table: Photos = []
    for photo in photos:
        table.append(photo)
        if len(table) == BLOCK_PHOTOS or sum(one.data for one in table) >= block_bytes:
            yield table
            table = []
    if table:
        yield table


def shaped(tables: Iterable[Photos], block_bytes: int, weigh: Callable[[Photo], int]) -> Iterator[Photos]:
    """The blocks that Ray Data makes of what a stage yields in one task."""
    waiting: Photos = []
    for table in tables:
        waiting = waiting + table
        while (size := sum(map(weigh, waiting))) > block_bytes:
            rows = len(waiting)
            if size >= TOO_LARGE * block_bytes:
                rows = ceil(block_bytes / (size / len(waiting)))
            yield waiting[:rows]
            waiting = waiting[rows:]
    if waiting:
        yield waiting


def filled(faces: Iterable[int], micro_batch: int) -> float:
    """Faces per place of the micro-batches of calls with so many faces each."""
    counts = list(faces)
    return sum(counts) / sum(ceil(count / micro_batch) * micro_batch for count in counts)


LIGHTER = 50  # times than real ones: the rows and blocks of stages that do nothing, so that they pass quickly
CROP = 3 * 512**2  # bytes of the crop of a face


def light(count: int, mean: float, sizes: BatchSizes, folder: str) -> tuple[Photos, BatchSizes, tuple[Stage, ...]]:
    """Photos of `mean` bytes with two faces each, their batch sizes, and stages that pass them on, all made lighter.

    The stages note calls and parts in files `calls` and `parts` of the folder: a line each, the faces of its photos.
    """
    photos = drawn(count, mean / LIGHTER, CROP // LIGHTER)
    sizes = replace(sizes, block_bytes=sizes.block_bytes // LIGHTER)
    stages = (
        Stage("fetch", reading, (photos, sizes.block_bytes)),
        Stage("detect", finding, ()),
        Stage("restore", noting, (f"{folder}/calls",), sizes.call_photos),
        Stage("publish", noting, (f"{folder}/parts",), sizes.part_photos),
    )
    return photos, sizes, stages


def pending(photos: Photos, archives: int = 0) -> Pending:
    """The work on these photos, which are all in one archive; or in so many compressed ones, each read by one task."""
    places = (row * archives // len(photos) for row in range(len(photos)))
    rows = [
        {"file": file, "row": row, "bytes": photo.data, "streamed": archives > 0}
        for row, (file, photo) in enumerate(zip(places, photos, strict=True))
    ]
    schema = pa.schema([field for field in PLACE if field.name != "photo_id"])
    return Pending("out", [f"{n}" for n in range(max(1, archives))], pa.Table.from_pylist(rows, schema=schema))


def noted(file: Path) -> list[list[int]]:
    """The faces of the photos of each call."""
    return [list(map(int, line.split())) for line in file.read_text().splitlines()]


def reading(photos: Photos, block_bytes: int) -> Callable[[pa.Table], Iterator[pa.Table]]:
    """The number of a photo's faces goes along as its rotation, which these stages do not need."""

    def read(units: pa.Table) -> Iterator[pa.Table]:
        for unit in units.to_pylist():
            names = map(str, unit["rows"])
            for table in fetched([photos[row] for row in unit["rows"]], block_bytes):
                rows = [photo_row(next(names), bytes(one.data)) | {"rotation": one.faces} for one in table]
                yield to_table(rows)

    return read


def finding() -> Callable[[pa.Table], Iterator[pa.Table]]:
    def find(table: pa.Table) -> Iterator[pa.Table]:
        for row in table.to_pylist():
            crops = bytes(row["rotation"] * (CROP // LIGHTER))
            yield to_table([{**row, "crops": crops} if crops else ended(row, "no_face")])

    return find


def passing() -> Callable[[pa.Table], pa.Table]:
    """A stage that passes photos on, for those that have their result before it."""
    return as_it_is


def as_it_is(table: pa.Table) -> pa.Table:
    return table


def noting(file: str) -> Callable[[pa.Table], pa.Table]:
    def note(table: pa.Table) -> pa.Table:
        with Path(file).open("a") as notes:
            notes.write(" ".join(map(str, table["rotation"].to_pylist())) + "\n")
        return table

    return note
