"""Batch sizes: how many photos and bytes travel together between the stages of a run."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import pyarrow.compute as pc

from pipeline.cluster import connect as cluster
from pipeline.config.resources import Resources
from pipeline.index.units import Pending

BATCH_PHOTOS = 8  # whose rows make one manifest part, and the least that one call of a restore actor takes, if they fit
# One call of a restore actor takes so many photos that with one face each they fill this many micro-batches: half of
# the last one is empty on average, of all places one in sixteen; with two faces each one in thirty-two.
CALL_MICRO_BATCHES = 8
CALL_BYTES = 512 << 20  # ... but no more photos than have so many bytes, as the index has them
CALLS = 10  # ... and so few that every actor gets as many calls: in the end one of them keeps the others waiting
# A stage's output is cut into blocks of about this size: large enough that small photos do not each cost the driver a
# block to keep account of, small enough that large ones do not wait for each other.
MAX_BLOCK_BYTES = 16 << 20
# Ray Data lets all stages together fill half of the object stores and promises half of that to them in equal parts,
# half of a part to what a stage has put out. A call that waits for more photos than that goes on only when Ray Data,
# after ten idle seconds, makes an exception; or never. So a call, a manifest part and a block take one in ROOM of the
# smallest store: with 38 GB, 600 MB.
ROOM = 64
STORE_SHARE = (
    0.3  # of a machine's memory, which Ray gives to an object store; what travels in this process gets as much
)
FACES = 3  # of a photo, which travel as crops and, after the restore actors, as restored crops too


@dataclass(frozen=True)
class BatchSizes:
    """Photos in one call of a restore actor, photos in one manifest part, bytes of a block."""

    call_photos: int
    part_photos: int
    block_bytes: int

    @staticmethod
    def of(pending: Pending, size: int, resources: Resources) -> BatchSizes:
        """What suits these photos, on Ray's cluster as it is or in this process. size: side of the crops, px."""
        mean = pc.mean(pending.places["bytes"]).as_py() or 0.0
        store = smallest_store() if cluster.running() else int(STORE_SHARE * psutil.virtual_memory().total)
        return BatchSizes.fitting(len(pending), mean, size, resources, store)

    @staticmethod
    def fitting(photos: int, mean: float, size: int, resources: Resources, store: int) -> BatchSizes:
        """mean: bytes of a photo, as the index has them. size: of the crops, px. store: bytes of the smallest store."""
        room = store / ROOM / (mean + 2 * FACES * 3 * size * size)
        each = photos / (CALLS * resources.max_actors)
        call = max(BATCH_PHOTOS, min(CALL_MICRO_BATCHES * resources.batch_faces, CALL_BYTES / max(1.0, mean), each))
        return BatchSizes(
            call_photos=max(1, int(min(call, room))),
            part_photos=max(1, int(min(BATCH_PHOTOS, room))),
            block_bytes=min(MAX_BLOCK_BYTES, store // ROOM),
        )


def smallest_store() -> int:
    """Bytes that the smallest object store of the cluster can hold."""
    import ray

    return int(min(node["Resources"]["object_store_memory"] for node in ray.nodes() if node["Alive"]))
