"""Rows that travel together fit into the object store, or a run would wait for ever, and they fill micro-batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.config.resources import Resources
from pipeline.index.units import UNIT_PHOTOS
from pipeline.networks.micro_batch import MOST
from pipeline.run.batching import BLOCK_ROOM, MAX_BLOCK_BYTES, ROOM, STORE_TO_COME, BatchSizes, fill, fitting, stores
from tests.support.blocks import CROP, calls, drawn, filled

GPU = Resources(max_actors=4, gpus_per_actor=1, batch_faces=16)
AUTO = Resources(max_actors=200, gpus_per_actor=1, batch_faces=MOST, find_batch=True)
GIB = 1 << 30
RESERVED = 40  # of a store, Ray Data reserves one part in so many for what a stage puts out


@pytest.mark.parametrize(
    ("photos", "mean", "size", "store", "call", "part"),
    [
        (100_000, 1e6, 256, 32 << 30, 128, 8),  # full micro-batches
        (1000, 1e6, 256, 32 << 30, 25, 8),  # ten calls for each actor
        (40, 1e6, 256, 32 << 30, 8, 8),
        (100_000, 20e6, 512, 64 << 30, 26, 8),  # 512 MB
        (100_000, 1e6, 512, 8 << 30, 23, 8),  # of a photo and its crops
        (100_000, 20e6, 512, 4 << 30, 2, 2),
        (100_000, 300e6, 512, 1 << 30, 1, 1),
        (100_000, 0, 32, 1 << 30, 128, 8),
    ],
)
def test_photos_of_a_call_and_of_a_part(photos: int, mean: float, size: int, store: int, call: int, part: int) -> None:
    sizes, resources = fitting(photos, mean, size, GPU, store, store)
    assert resources == GPU  # the user chose the micro-batch
    assert (sizes.call_photos, sizes.part_photos) == (call, part)
    assert sizes.call_photos == 1 or sizes.call_photos * (mean + 18 * size**2) <= store / ROOM
    assert sizes.block_bytes == min(MAX_BLOCK_BYTES, store // BLOCK_ROOM)


# Object stores of a g6.xlarge (16 GiB), a g5.4xlarge (64 GiB) and a node with a GPU of 141 GB (256 GiB), and their
# calls: photos, and faces in a micro-batch.
@pytest.mark.parametrize(
    ("memory", "megabytes", "call", "micro_batch"),
    [
        (16, 1, 14, 4),
        (16, 2, 11, 4),
        (16, 5, 8, 4),
        (16, 10, 5, 2),
        (16, 20, 3, 2),
        (64, 1, 56, 16),
        (64, 5, 33, 8),
        (64, 10, 21, 8),
        (64, 20, 13, 4),
        (256, 1, 225, 32),
        (256, 5, 107, 32),
        (256, 10, 53, 16),
        (256, 20, 26, 8),
    ],
)
def test_micro_batches_are_full_whatever_the_size_of_the_photos(
    memory: int, megabytes: int, call: int, micro_batch: int
) -> None:
    store = int(0.3 * memory * GIB)
    sizes, resources = fitting(10**8, megabytes * 1e6, 512, AUTO, store, store)
    assert (sizes.call_photos, resources.batch_faces) == (call, micro_batch)
    units = 10
    for faces_per_photo in (2.0, 2.67, 5.0):
        assert fill(sizes.call_photos * faces_per_photo, resources.batch_faces) >= 0.9
        photos = [drawn(UNIT_PHOTOS, megabytes * 1e6, CROP, faces_per_photo, seed) for seed in range(units)]
        made = list(calls(photos, sizes))
        assert sum(map(len, made)) == units * UNIT_PHOTOS
        assert filled([sum(photo.faces for photo in one) for one in made], resources.batch_faces) >= 0.9
        assert max(sum(photo.found for photo in one) for one in made) <= store / RESERVED
    late, same = fitting(100, megabytes * 1e6, 512, AUTO, store, store)  # what is left when a run is continued
    assert (same, late.call_photos <= call) == (resources, True)


@pytest.mark.parametrize(("faces", "micro_batch"), [(13.0, 32), (35.0, 8), (6.0, 2), (500.0, 32), (0.5, 4)])
def test_how_full_micro_batches_are(faces: float, micro_batch: int) -> None:
    """Against calls that are drawn."""
    drawn = np.random.default_rng(0).poisson(faces, 200_000)
    places = np.ceil(drawn / micro_batch) * micro_batch
    assert fill(faces, micro_batch) == pytest.approx(drawn.sum() / places.sum(), rel=0.01)
    assert fill(faces, 1) == 1.0


HEAD = {"object_store_memory": 2e9, "node:__internal_head__": 1.0}
GPU_NODE = {"CPU": 4.0, "GPU": 1.0, "object_store_memory": 5e9}
CPU_NODE = {"CPU": 16.0, "object_store_memory": 3e9}


@pytest.mark.parametrize(
    ("nodes", "gpus", "restoring", "working"),
    [
        ([HEAD, GPU_NODE, CPU_NODE], 1, 5e9, 3e9),  # the head does no work
        ([HEAD, GPU_NODE, CPU_NODE], 0, 3e9, 3e9),
        ([HEAD, GPU_NODE], 0.5, 5e9, 5e9),
        ([HEAD, CPU_NODE], 1, STORE_TO_COME, 3e9),  # the GPU nodes are still to come
        ([HEAD], 1, STORE_TO_COME, STORE_TO_COME),
        ([{**CPU_NODE, "CPU": 0.5}], 0, STORE_TO_COME, 3e9),  # too small for a restore actor
    ],
)
def test_calls_fit_the_nodes_that_work(
    nodes: list[dict[str, Any]], gpus: float, restoring: float, working: float
) -> None:
    assert stores(nodes, gpus) == (restoring, working)


def test_a_part_fits_every_node_that_works() -> None:
    sizes, _ = fitting(10**6, 20e6, 512, AUTO, 64 * GIB, 2 * GIB)
    assert sizes == BatchSizes(call_photos=26, part_photos=1, block_bytes=8 << 20)


@pytest.mark.parametrize(("actors", "part"), [(1, 8), (16, 8), (32, 16), (200, 32)])
def test_parts_grow_with_the_rate(actors: int, part: int) -> None:
    fast = Resources(max_actors=actors, batch_faces=16)
    assert fitting(10_000_000, 1e6, 256, fast, 32 << 30, 32 << 30)[0].part_photos == part
