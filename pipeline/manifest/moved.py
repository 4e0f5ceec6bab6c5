"""Where the restored files of an OUTPUT are that was moved or copied: `storage.output.Output.now`, in SQL."""

from __future__ import annotations

from pipeline.storage.output import Output

# The folder of an archive below restored/ has the name of its source, or that with a part of a digest: see
# pipeline/index/files.py. The second is tried first, because a member's path may look like the first.
_LAST = "regexp_extract(rtrim(source, '/'), '[^/]*$')"
_NAME = f"CASE WHEN {_LAST} IN ('', '.', '..') THEN 'root' ELSE {_LAST} END"
_NAMES = (f"{_NAME} || '-' || sha256(source)[:8]", _NAME)


def restored_uri(output: str) -> str:
    """An expression for the place of a row's restored file now. output: the canonical URI of OUTPUT.

    A URI below OUTPUT stays, and so does one that was never below an OUTPUT.
    """
    place = Output(output)
    folders = (place.restored, place.withdrawn)
    here = " OR ".join(f"starts_with(restored_uri, {_text(f'{folder}/')})" for folder in folders)
    moved = [_below(folder, name) for name in _NAMES for folder in folders]
    return f"CASE WHEN {here} THEN restored_uri ELSE coalesce({', '.join(moved)}, restored_uri) END"


def _below(folder: str, name: str) -> str:
    """The URI with what is before the folder's name replaced; null if this is not in it."""
    above, _, last = folder.rpartition("/")
    found = f"strpos(restored_uri, '/{last}/' || {name} || '/')"
    return f"CASE WHEN {found} > 0 THEN {_text(above)} || substr(restored_uri, {found}) END"


def _text(words: str) -> str:
    """A string in SQL."""
    return "'" + words.replace("'", "''") + "'"
