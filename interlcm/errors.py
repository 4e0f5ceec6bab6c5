"""The errors that a user can cause or cure. The command prints them as one line; anything else is a bug."""

from __future__ import annotations

import re


class InterLCMError(Exception):
    """The first line of its text names the thing and the remedy. exit_code: exit code of the command that it ends."""

    exit_code = 1


class TrainingError(InterLCMError):
    """Training cannot go on: one line that names the stage and what to change."""


def one_line(error: BaseException | str) -> str:
    """The text of an error without line breaks; for an OSError, only what went wrong; never empty."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return printable(text) or type(error).__name__


def without_password(text: str) -> str:
    """A text in which no URL has a name and a password before its host."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def printable(text: str, kept: str = "") -> str:
    """Text for a terminal, a log or a table, spelled so that no name in it can move a cursor or change a colour.

    kept: control characters that stay, such as the ends of lines.
    """
    return "".join(char if char.isprintable() or char in kept else ascii(char)[1:-1] for char in text)
