"""Weights folders of single files."""

from __future__ import annotations

from pathlib import Path

from interlcm.weights_index import Parts, describe, empty_index, merge_index


def listed(folder: Path) -> Parts:
    """A folder without an index, as one would list all that lies in it now."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    entries = [describe(file, file.relative_to(folder).as_posix(), "test", "random", None) for file in files]
    return Parts(folder, merge_index(empty_index(), entries, {}))
