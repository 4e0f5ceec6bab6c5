from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.interval import mean_interval


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20  # of a mean of 400
    assert (high - mean, mean - low) == pytest.approx((half, half), rel=0.1)
    assert mean_interval([7.0]) == (7.0, 7.0, 7.0) and mean_interval([3.0, 3.0]) == (3.0, 3.0, 3.0)
