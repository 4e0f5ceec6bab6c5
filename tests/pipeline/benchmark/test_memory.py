"""The memory benchmark puts each look at the processes into its tenth."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.benchmark import memory, photos
from pipeline.benchmark.memory import Mark, Measured


def test_each_tenth_has_the_most_of_its_looks() -> None:
    marks = [Mark(10.0 * n, 2 * n, n << 20, 0 if n < 5 else 7_000_000) for n in range(1, 11)]
    samples = [(9.0, Counter({"driver 1": 5_000_000, "fetch 2": 1_000_000, "fetch 3": 4_000_000})),
               (95.0, Counter({"driver 1": 6_000_000, "other 9": 1}))]  # fmt: skip
    first, *_, last = memory.table(Measured(marks, samples), limit=20 << 20)
    assert (first["driver MB"], first["fetch MB"], first["find MB"], first["spilled MB"]) == (5, 4, None, 0)
    assert (last["driver MB"], last["fetch MB"], last["spilled MB"], last["of its limit %"]) == (6, None, 7, 50)


def test_how_many_photos_have_so_many_bytes() -> None:
    assert memory.photos_for(2e9, 4_000_000, 4_000_000) == 500
    count = memory.photos_for(2e9, 500_000, 2_000_000)
    assert sum(photos.sizes(count, 500_000, 2_000_000)) == pytest.approx(2e9, rel=0.05)
    assert memory.photos_for(1, 1000, 2000) == 10  # one for each row
