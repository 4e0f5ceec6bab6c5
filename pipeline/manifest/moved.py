"""Where the restored files of an OUTPUT are that was moved or copied: `storage.output.Output.now`, in SQL."""

from __future__ import annotations

from pipeline.storage.output import Output

# The folder of an archive below restored/ has the name of its source, or that with a part of a digest: see
# pipeline/index/files.py. The second is tried first, because a member's path may look like the first. A lambda over a
# list of one stands for a variable, which SQL lacks: DuckDB would bind and compute a repeated expression each time.
_LAST = "regexp_extract(rtrim(source, '/'), '[^/]*$')"
_NAME = f"list_transform([{_LAST}], lambda last: CASE WHEN last IN ('', '.', '..') THEN 'root' ELSE last END)[1]"
_NAMES = f"list_transform([{_NAME}], lambda name: [name || '-' || sha256(source)[:8], name])[1]"


def restored_uri(output: str) -> str:
    """An expression for the place of a row's restored file now. output: the canonical URI of OUTPUT.

    A URI below OUTPUT stays, and so does one that was never below an OUTPUT.
    """
    place = Output(output)
    folders = (place.restored, place.withdrawn)
    here = " OR ".join(f"starts_with(restored_uri, {_text(f'{folder}/')})" for folder in folders)
    found = ", ".join(f"nullif(strpos(restored_uri, {_folder(folder)} || name || '/'), 0)" for folder in folders)
    at = f"list_filter(list_transform({_NAMES}, lambda name: coalesce({found})), lambda place: place IS NOT NULL)[1]"
    above = _text(place.restored.rpartition("/")[0])
    return f"CASE WHEN {here} THEN restored_uri ELSE coalesce({above} || substr(restored_uri, {at}), restored_uri) END"


def _folder(folder: str) -> str:
    """The last part of a folder's URI between slashes, in SQL."""
    return _text(f"/{folder.rpartition('/')[2]}/")


def _text(words: str) -> str:
    """A string in SQL."""
    return "'" + words.replace("'", "''") + "'"
