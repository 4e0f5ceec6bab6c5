"""The largest micro-batch that fits, found once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.networks.micro_batch import largest


@pytest.mark.parametrize(("room", "found"), [(100, 32), (32, 32), (31, 31), (30, 16), (3, 2), (0, 1)])
def test_the_first_candidate_that_fits(room: int, found: int, tmp_path: Path) -> None:
    assert largest(lambda faces: faces <= room, {"gpu": "large"}, 32, tmp_path) == found


def test_it_is_looked_for_once_for_each_gpu_and_model(tmp_path: Path) -> None:
    tried: list[int] = []

    def fits(faces: int) -> bool:
        tried.append(faces)
        return faces <= 8

    about = {"gpu": "large", "weights_digest": "a", "dtype": "bfloat16"}
    assert [largest(fits, about, 32, tmp_path) for _ in range(2)] == [8, 8]
    assert tried == [32, 31, 16, 8]
    assert largest(fits, about | {"dtype": "float32"}, 32, tmp_path) == 8
    assert tried == [32, 31, 16, 8] * 2
