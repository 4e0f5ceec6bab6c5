"""The errors that a user can cause or cure. The command prints them as one line; anything else is a bug."""

from __future__ import annotations


class InterLCMError(Exception):
    """The first line of its text names the thing and the remedy. exit_code: exit code of the command that it ends."""

    exit_code = 1


class TrainingError(InterLCMError):
    """Training cannot go on: one line that names the stage and what to change."""


def one_line(error: BaseException | str) -> str:
    """The text of an error without line breaks; for an OSError, only what went wrong; never empty."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return text or type(error).__name__
