"""Progress of a run: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jobs.counted import counted
from jobs.lines import Lines
from jobs.times import in_words
from pipeline.run.waiting import repeated

if TYPE_CHECKING:
    from pipeline.run.progress import Progress

LOG_EVERY = 10.0  # seconds between progress lines if the output is not a terminal
BAR_EVERY = 1.0  # seconds between updates of a bar's text


def show(steps: "Iterator[Progress]", lines: Lines) -> None:
    """A bar on a terminal; elsewhere a line at the start, one every ten seconds, and one at the end.

    steps: yields the same object each time. While the next step takes long, the object is shown again.
    """
    if sys.stdout.isatty() and not lines.as_json:
        return show_bar(steps)

    def say() -> None:
        lines.say("progress", progress_line(progress), **numbers(progress))
        if (waiting := progress.waiting) and waiting.lines:
            lines.say("waiting", "\n".join(waiting.lines), **asdict(waiting))

    progress = next(steps)
    say()
    with repeated(say, LOG_EVERY):
        moved = sum(1 for _ in steps)
    if moved:
        say()


def show_bar(steps: "Iterator[Progress]") -> None:
    """The progress line, a bar and the remaining time; at the end the elapsed time."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=16))
    with Bar(*columns, TimeRemainingColumn(elapsed_when_finished=True)) as bar:
        task = bar.add_task("restore: starting", total=None)

        def update() -> None:
            bar.update(
                task,
                total=total(progress),
                completed=progress.earlier + progress.done,
                description="\n".join([progress_line(progress), *(progress.waiting.lines if progress.waiting else [])]),
            )

        progress = next(steps)
        update()
        with repeated(update, BAR_EVERY):
            for _ in steps:
                update()


def numbers(progress: "Progress") -> dict[str, Any]:
    """The numbers of a progress line. seconds_left: null before the first photo."""
    passed = time.monotonic() - progress.begun
    left = passed / progress.done * (progress.total - progress.done) if progress.done else None
    return {
        "done": progress.earlier + progress.done,
        "total": total(progress),
        "faces": progress.faces_so_far,
        "failed": progress.failed,
        "seconds": round(passed, 1),
        "seconds_left": None if left is None else round(left, 1),
    }


def total(progress: "Progress") -> int:
    """All files that were asked for, so that a run that continues counts from what is done."""
    return progress.earlier + progress.total


def progress_line(progress: "Progress") -> str:
    passed = time.monotonic() - progress.begun
    rate = progress.faces_so_far / max(passed, 1e-9)
    share = f"{progress.earlier + progress.done}/{counted(total(progress), 'file')}"
    faces = counted(progress.faces_so_far, "face")
    line = f"restore: {share}, {faces} ({rate:.2f} faces/s), {progress.failed} failed"
    if 0 < progress.done < progress.total:
        left = passed / progress.done * (progress.total - progress.done)
        line += f", about {in_words(timedelta(seconds=left))} left"
    return line
