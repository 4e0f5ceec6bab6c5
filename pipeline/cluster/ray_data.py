"""Ray Data as every job here uses it: silent, for this project prints its own progress, and with errors as they are."""

from __future__ import annotations

import logging

from ray.data import DataContext


def quiet() -> DataContext:
    """Ray Data's context, without progress bars and logs. An error of a worker arrives as itself, not as text."""
    # At other levels it logs plans, progress, and each error of a worker twice, with all its frames.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    return context
