"""The memory benchmark assigns each sample of the processes to its tenth."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.benchmark import memory, photos
from pipeline.benchmark.memory import Mark, Measured


def test_each_tenth_has_the_most_of_its_looks() -> None:
    marks = [Mark(10.0 * n, 2 * n, n << 20, 0 if n < 5 else 7_000_000) for n in range(1, 11)]
    samples = [(9.0, Counter({"driver 1": 5_000_000, "fetch 2": 1_000_000, "fetch 3": 4_000_000})),
               (95.0, Counter({"driver 1": 6_000_000, "other 9": 1}))]  # fmt: skip
    first, *_, last = memory.table(Measured(marks, samples, 0.0), limit=20 << 20)
    assert (first["driver MB"], first["fetch MB"], first["find MB"], first["spilled MB"]) == (5, 4, None, 0)
    assert (last["driver MB"], last["fetch MB"], last["spilled MB"], last["of its limit %"]) == (6, None, 7, 50)


def test_what_a_photo_costs_and_how_many_pass_once_all_have_started() -> None:
    """Forty photos: the first four after 30 s, then two in each 10 s."""
    marks = [Mark(30.0, 4, 0, 0), *(Mark(30.0 + 10 * n, 4 + 2 * n, 0, 0) for n in range(1, 19))]
    samples = [(9.0, Counter({"driver 1": 5_000_000, "fetch 2": 1_000_000})),
               (95.0, Counter({"driver 1": 6_000_000, "fetch 2": 1_000_000, "fetch 3": 2_000_000}))]  # fmt: skip
    assert memory.cost(Measured(marks, samples, 20.0)) == pytest.approx(
        {
            "run s": 210.0,
            "photos/s after the first tenth": 0.2,
            "CPU s/photo": 0.5,
            "driver MB": 6.0,
            "all processes MB": 9.0,
        }
    )


def test_photos_that_all_come_at_once_have_no_pace() -> None:
    one = Measured([Mark(30.0, 10, 0, 0)], [(9.0, Counter({"driver 1": 1}))], 1.0)
    assert memory.cost(one)["photos/s after the first tenth"] is None


def test_how_many_photos_have_so_many_bytes() -> None:
    assert memory.photos_for(2e9, 4_000_000, 4_000_000) == 500
    count = memory.photos_for(2e9, 500_000, 2_000_000)
    assert sum(photos.sizes(count, 500_000, 2_000_000)) == pytest.approx(2e9, rel=0.05)
    assert memory.photos_for(1, 1000, 2000) == 10  # one for each row
