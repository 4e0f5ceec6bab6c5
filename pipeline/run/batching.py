"""Batch sizes: how many photos and bytes the stages of a run pass on together."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import pyarrow.compute as pc

from pipeline.cluster import connect as cluster
from pipeline.config.resources import Resources
from pipeline.index.units import Pending

BATCH_PHOTOS = 8  # fewest photos in one manifest part and in one call of a restore actor, if they fit
# Most photos in a manifest part, and how many it has for each restore actor. 200 actors restore some 3,000 photos/s: in
# parts of eight, these were more than one process can merge. A part is committed as a whole, which at a stop has 20 s.
PART_PHOTOS, PART_SHARE = 32, 0.5
# With one face per photo, the photos of one call of a restore actor fill this many micro-batches. On average half of
# the last micro-batch is empty: one place in sixteen overall, or one in thirty-two with two faces per photo.
CALL_MICRO_BATCHES = 8
CALL_BYTES = 512 << 20  # most bytes of photos in one call, by the index
CALLS = 10  # fewest calls for each actor, so that at the end no actor keeps the others waiting for long
# A stage's output is cut into blocks of about this size. It is large enough that the driver does not have to track a
# block for each small photo, and small enough that large photos do not wait for each other.
MAX_BLOCK_BYTES = 16 << 20
# Ray Data lets all stages together fill half of the object stores. It reserves half of that for the stages in equal
# parts, and half of each part for the stage's output. A call that waits for more photos than this stalls until Ray Data
# makes an exception after ten idle seconds, or for ever. So a call, a manifest part and a block each take at most
# 1/ROOM of the smallest store: 600 MB of 38 GB.
ROOM = 64
STORE_SHARE = (
    0.3  # of a machine's memory: Ray gives it to an object store; without Ray, rows between stages get as much
)
FACES = 3  # assumed per photo; each is carried as a crop and, after the restore actors, as a restored crop too


@dataclass(frozen=True)
class BatchSizes:
    """Photos in one call of a restore actor, photos in one manifest part, bytes in a block."""

    call_photos: int
    part_photos: int
    block_bytes: int

    @staticmethod
    def of(pending: Pending, size: int, resources: Resources) -> BatchSizes:
        """The sizes for these photos, on the running Ray cluster or in this process. size: side of the crops, px."""
        mean = pc.mean(pending.places["bytes"]).as_py() or 0.0
        store = smallest_store() if cluster.running() else int(STORE_SHARE * psutil.virtual_memory().total)
        return BatchSizes.fitting(len(pending), mean, size, resources, store)

    @staticmethod
    def fitting(photos: int, mean: float, size: int, resources: Resources, store: int) -> BatchSizes:
        """mean: bytes of a photo, by the index. size: side of the crops, px. store: bytes of the smallest store."""
        room = store / ROOM / (mean + 2 * FACES * 3 * size * size)
        each = photos / (CALLS * resources.max_actors)
        call = max(BATCH_PHOTOS, min(CALL_MICRO_BATCHES * resources.batch_faces, CALL_BYTES / max(1.0, mean), each))
        part = max(BATCH_PHOTOS, min(PART_PHOTOS, PART_SHARE * resources.max_actors, each))
        return BatchSizes(
            call_photos=max(1, int(min(call, room))),
            part_photos=max(1, int(min(part, room))),
            block_bytes=min(MAX_BLOCK_BYTES, store // ROOM),
        )


def smallest_store() -> int:
    """Capacity of the smallest object store of the cluster, bytes."""
    import ray

    return int(min(node["Resources"]["object_store_memory"] for node in ray.nodes() if node["Alive"]))
