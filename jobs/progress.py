"""Progress of a run: a bar on a terminal, lines elsewhere."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.run.attempt import Progress

LOG_EVERY = 10.0  # seconds between progress lines where the output is no terminal


def show(steps: "Iterator[Progress]") -> None:
    """A bar on a terminal; elsewhere one line every ten seconds and at the end."""
    if sys.stdout.isatty():
        return show_bar(steps)
    last = float("-inf")
    for progress in steps:
        now = seconds(progress)
        if now - last >= LOG_EVERY or progress.done == progress.total:
            print(progress_line(progress), flush=True)
            last = now


def show_bar(steps: "Iterator[Progress]") -> None:
    """The line of a log, a bar, and the remaining time; at the end the elapsed time."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16))
    with Bar(*columns, TimeRemainingColumn(elapsed_when_finished=True)) as bar:
        task = bar.add_task("restore: starting", total=None)
        for progress in steps:
            bar.update(task, total=progress.total, completed=progress.done, description=progress_line(progress))


def progress_line(progress: "Progress") -> str:
    rate = progress.faces / max(seconds(progress), 1e-9)
    share = f"{progress.done}/{progress.total} photos"
    return f"restore: {share}, {progress.faces} faces ({rate:.2f} faces/s), {progress.failed} failed"


def seconds(progress: "Progress") -> float:
    import time

    return time.monotonic() - progress.begun
