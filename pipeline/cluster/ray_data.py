"""Ray Data's settings for every job: quiet, because this project prints its own progress, and with original errors."""

from __future__ import annotations

import logging

from ray.data import DataContext


def quiet() -> DataContext:
    """Ray Data's context, without progress bars and logs. A worker's error is raised as the original exception."""
    # At lower levels Ray Data logs plans, progress, and each worker's error twice with its whole traceback.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    return context
