"""Rows that travel together fit into the object store; otherwise a run would wait for ever."""

from __future__ import annotations

import pytest

from pipeline.config.resources import Resources
from pipeline.run.batching import ROOM, BatchSizes

GPU = Resources(max_actors=4, batch_faces=16)


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
    flow = BatchSizes.fitting(photos, mean, size, GPU, store)
    assert (flow.call_photos, flow.part_photos) == (call, part)
    assert flow.call_photos == 1 or flow.call_photos * (mean + 18 * size**2) <= store / ROOM
    assert flow.block_bytes == 16 << 20
    assert BatchSizes.fitting(photos, mean, size, GPU, 128 << 20).block_bytes == 2 << 20


@pytest.mark.parametrize(("actors", "part"), [(1, 8), (16, 8), (32, 16), (200, 32)])
def test_parts_grow_with_the_rate(actors: int, part: int) -> None:
    fast = Resources(max_actors=actors, batch_faces=16)
    assert BatchSizes.fitting(10_000_000, 1e6, 256, fast, 32 << 30).part_photos == part
