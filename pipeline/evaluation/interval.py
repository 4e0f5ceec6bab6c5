"""How sure the mean of a measure is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

RESAMPLES = 2000  # of a bootstrap: each 2.5 % end then rests on 50 means


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of values (N,) and its percentile bootstrap interval, resampled with a fixed seed.

    Efron 1979, "Bootstrap methods: another look at the jackknife". For one value the interval is that value.
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, mean, mean
    drawn = stats.bootstrap(
        (array,), np.mean, n_resamples=RESAMPLES, batch=100, confidence_level=confidence, method="percentile", rng=0
    )
    return mean, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
