"""Progress lines of a command that is not a run."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

LOG_EVERY = 10.0  # seconds between progress lines

Step = TypeVar("Step")


def last_of(steps: Iterator[Step], line: Callable[[Step], str]) -> Step:
    """Go through all steps, of which there is one at least, and return the last; prints `line` every ten seconds."""
    said = time.monotonic()
    for step in steps:
        if time.monotonic() - said >= LOG_EVERY:
            print(line(step), flush=True)
            said = time.monotonic()
    return step
