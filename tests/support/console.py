"""The commands of a page's `console` blocks, with the output that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    return [(found[1], found[2]) for found in BLOCK.finditer(page.read_text())]


def typed(page: Path) -> Iterator[tuple[str, str]]:
    """Each command, which stands behind "$ ", and the output that the page shows."""
    for language, text in blocks(page):
        if language == "console":
            for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, shown = command.partition("\n")
                yield line, shown


def masked(text: str) -> list[str]:
    """The shape of an output: without paths, digests, figures, times, widths of columns, repeated lines of progress.

    On a busy machine there are more lines of progress, some with one face, some with the time that is left, and lines
    about what takes long.
    """
    text = re.sub(r"^waiting: .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r", about .+ left$", "", text, flags=re.MULTILINE)
    text = re.sub(r"; Ray from \d+", "", text)  # on a machine with more cores
    text = re.sub(r"\b(face|photo)\b", r"\1s", text)
    lines = [re.sub(r"(?<!\S)/\S+", "/path", line) for line in text.splitlines()]
    lines = [re.sub(r"\b[0-9a-f]{12}\b", "digest", line) for line in lines]
    lines = [re.sub(r"[\d.,:]*\d|NULL", "#", line) for line in lines]
    lines = [re.sub(r"[─┬┴┼]+", "─", re.sub(r" +", " ", line)).strip() for line in lines]
    return [line for line, _ in groupby(lines)]
