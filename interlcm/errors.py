"""The errors that a user can cause or cure. The command prints them as one line; anything else is a bug."""

from __future__ import annotations

import re

# In a text: a user's name and password before a host, and the query string of an http(s) address.
_PASSWORD = re.compile(r"\b([a-z][a-z0-9+.-]*:/+)([^\s/?#@]*:[^\s/?#@]*@)", re.IGNORECASE)
_USER = re.compile(r"\b(https?://)([^\s/?#]*@)", re.IGNORECASE)
_QUERY = re.compile(r"\b(https?://[^\s?#'\"<>]*)[?#][^\s'\"<>)]*?(?=[:,;.]?(?:[\s'\"<>)]|$))", re.IGNORECASE)


class InterLCMError(Exception):
    """The first line of its text names the thing and the remedy. exit_code: exit code of the command that it ends."""

    exit_code = 1

    def __init__(self, message: str = "", *others: object) -> None:
        super().__init__(without_secrets(message), *others)


class TrainingError(InterLCMError):
    """Training cannot go on: one line that names the stage and what to change."""


def installs(extra: str) -> str:
    """The words that say how to install an extra: from a clone, since no index has the package."""
    return f"in a clone of the project: pip install -c constraints.txt '.[{extra}]'"


def one_line(error: BaseException | str) -> str:
    """The text of an error without line breaks; for an OSError, only what went wrong; never empty."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return printable(without_secrets(text)) or type(error).__name__


def without_secrets(text: str) -> str:
    """A text whose addresses have no password and, for http(s), no query string: clients quote whole addresses."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", _PASSWORD.sub(r"\1", text)))


def printable(text: str, kept: str = "") -> str:
    """Text for a terminal, a log or a table, spelled so that no name in it can move a cursor or change a colour.

    kept: control characters that stay, such as the ends of lines.
    """
    return "".join(char if char.isprintable() or char in kept else ascii(char)[1:-1] for char in text)
