"""The tasks and their defaults, in one table for commands, training and Python calls."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskDefaults:
    """The defaults of a task.

    Attributes:
        color_fix: how restored faces take the input's colours. Wavelet takes the low frequencies of the input, so it
            would remove the colour of colorize, and return the white strokes of inpaint as haze.
        keep_tone: a photo of one tone keeps its tone.
        keep_monochrome: the model's own rule for one grey crop (`color_fix.keep_monochrome`). It also takes the input's
            mean and deviation, which under white strokes are not the face's.
    """

    color_fix: str
    keep_tone: bool
    keep_monochrome: bool


TASKS = {
    "restore": TaskDefaults(color_fix="wavelet", keep_tone=True, keep_monochrome=True),
    "colorize": TaskDefaults(color_fix="none", keep_tone=False, keep_monochrome=False),
    "inpaint": TaskDefaults(color_fix="none", keep_tone=True, keep_monochrome=False),
}
AUTO = "auto"  # in a setting: the task's default


def color_fix_for(task: str, asked: str = AUTO) -> str:
    """The requested colour fix, or the task's default. ValueError for an unknown task."""
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; there is {', '.join(TASKS)}")
    return TASKS[task].color_fix if asked == AUTO else asked
