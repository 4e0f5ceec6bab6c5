"""Weights folders of single files."""

from __future__ import annotations

from pathlib import Path

from interlcm.weights_index import Parts, describe, empty_index, merge_index


def listed(folder: Path, below: str = "") -> Parts:
    """A folder as one would list all that lies in it now, or below a folder in it."""
    files = [file for file in sorted((folder / below).rglob("*")) if file.is_file()]
    entries = [describe(file, file.relative_to(folder).as_posix(), "test", "random", None) for file in files]
    return Parts(folder, merge_index(empty_index(), entries, {}))
