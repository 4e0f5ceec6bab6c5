"""Batch sizes: how many photos and bytes the stages of a run pass on together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import lgamma, log
from typing import Any

import numpy as np
import psutil
import pyarrow.compute as pc

from pipeline.cluster import connect as cluster
from pipeline.config.resources import Resources
from pipeline.index.units import Pending
from pipeline.networks.micro_batch import candidates
from pipeline.stages.fetch import BLOCK_PHOTOS

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
# makes an exception after ten idle seconds, or for ever. So a call and a manifest part each take at most 1/ROOM of a
# store: 600 MB of 38 GB. They are made of whole blocks, so they may be larger by less than a block, which takes at most
# 1/BLOCK_ROOM of it.
ROOM, BLOCK_ROOM = 64, 256
# Of a machine's memory: Ray gives it to an object store; without Ray, rows between stages get as much.
STORE_SHARE = 0.3
FACES = 3  # assumed per photo; each is carried as a crop and, after the restore actors, as a restored crop too
# Padding is paid for like faces. Large photos leave room for few faces in a call, so the micro-batch is made smaller
# until this share of its places is filled, if photos have as many faces as FACES_TO_FILL on average.
FULL, FACES_TO_FILL = 0.9, 2.0
# Seconds that a driver of Ray Data takes for a block that fetch passes on, and for a photo (docs/performance.md, "The
# driver"); and the photos a second that a restore actor on a fast GPU takes, at 40 faces a second.
DRIVER_BLOCK, DRIVER_PHOTO, ACTOR_PHOTOS = 0.011, 0.0011, 15.0
# The store of a node of 16 GiB, for a cluster none of whose nodes that restore is there yet.
STORE_TO_COME = int(STORE_SHARE * 16 * 2**30)


@dataclass(frozen=True)
class BatchSizes:
    """Photos in one call of a restore actor, photos in one manifest part, bytes in a block.

    On Ray, calls and parts are whole blocks: as few as have this many photos together.
    """

    call_photos: int
    part_photos: int
    block_bytes: int


def batches(pending: Pending, size: int, resources: Resources) -> tuple[BatchSizes, Resources]:
    """The sizes for these photos, on the running Ray cluster or in this process, and the micro-batch that goes with
    them. size: side of the crops, px."""
    mean = pc.mean(pending.places["bytes"]).as_py() or 0.0
    return fitting(len(pending), mean, size, resources, *stores_now(resources.gpus_per_actor))


def stores_now(gpus_per_actor: float) -> tuple[int, int]:
    """`stores` of the running Ray cluster, or of this process."""
    if not cluster.running():
        return (int(STORE_SHARE * psutil.virtual_memory().total),) * 2
    import ray

    return stores([node["Resources"] for node in ray.nodes() if node["Alive"]], gpus_per_actor)


def stores(nodes: Iterable[dict[str, Any]], gpus_per_actor: float) -> tuple[int, int]:
    """Bytes of the smallest object store of the nodes that can restore, and of all nodes that can work at all.

    nodes: the resources of each. A head without CPUs does no work. Nodes that are not there yet count as
    STORE_TO_COME.
    """
    working = [node for node in nodes if node.get("CPU", 0) > 0]
    restoring = [node for node in working if node["CPU"] >= 1 and node.get("GPU", 0) >= gpus_per_actor]
    first, second = (
        min((int(node["object_store_memory"]) for node in kind), default=STORE_TO_COME) for kind in (restoring, working)
    )
    return first, min(first, second)


def fitting(
    photos: int, mean: float, size: int, resources: Resources, restoring: int, working: int
) -> tuple[BatchSizes, Resources]:
    """mean: bytes of a photo, by the index. size: side of the crops, px. restoring, working: bytes of the smallest
    store of the nodes that restore, and of all.

    The micro-batch depends on the photos' size, not on their number, so that a run that is continued keeps it.
    """
    photo = mean + 2 * FACES * 3 * size * size
    room = restoring / ROOM / photo
    if resources.find_batch:
        most = min(CALL_MICRO_BATCHES * resources.batch_faces, CALL_BYTES / max(1.0, mean), room)
        resources = replace(resources, batch_faces=full_micro_batch(max(1, int(most)), resources.batch_faces))
    each = photos / (CALLS * resources.max_actors)
    call = max(BATCH_PHOTOS, min(CALL_MICRO_BATCHES * resources.batch_faces, CALL_BYTES / max(1.0, mean), each))
    part = max(BATCH_PHOTOS, min(PART_PHOTOS, PART_SHARE * resources.max_actors, each))
    sizes = BatchSizes(
        call_photos=max(1, int(min(call, room))),
        part_photos=max(1, int(min(part, working / ROOM / photo))),
        block_bytes=block_bytes(working),
    )
    return sizes, resources


def block_bytes(working: int) -> int:
    """Bytes in a block, for the smallest store of the nodes that work."""
    return min(MAX_BLOCK_BYTES, working // BLOCK_ROOM)


def full_micro_batch(photos: int, most: int) -> int:
    """The largest micro-batch, up to `most`, of which calls of this many photos fill the share FULL."""
    return next(size for size in candidates(most) if size == 1 or fill(photos * FACES_TO_FILL, size) >= FULL)


def fill(faces: float, micro_batch: int) -> float:
    """Faces per place of the micro-batches of many calls with this many faces on average.

    Only the last micro-batch of a call is padded. The number of faces in a call varies as a Poisson number.
    """
    if micro_batch == 1 or faces <= 0:
        return 1.0
    count = np.arange(1, int(faces + 12 * faces**0.5) + 32)
    chance = np.exp(count * log(faces) - faces - np.array([lgamma(n + 1) for n in count]))
    return float(chance @ count / (chance @ (np.ceil(count / micro_batch) * micro_batch)))


def driver_photos(mean: float, gpus_per_actor: float) -> float:
    """Photos of `mean` bytes a second that one driver can follow."""
    _, working = stores_now(gpus_per_actor)
    # Fetch passes on a block once it is full, which is on average half a photo later than exactly.
    in_a_block = min(BLOCK_PHOTOS, max(1.0, block_bytes(working) / max(1.0, mean) + 0.5))
    return 1 / (DRIVER_BLOCK / in_a_block + DRIVER_PHOTO)
