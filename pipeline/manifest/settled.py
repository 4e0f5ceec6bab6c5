"""The settled files of a manifest: merged files of which it is known which rows are the newest of their photos.

Compaction writes their list to OUTPUT/manifest.json. It says: the leading row groups of all these files together
hold at most one row of each photo, and each row in their other groups is older than one of these. So a reader needs to
look for repeated rows only in the files that are not listed, and in the settled rows of the same photos.

The list may be late, early or missing, and every answer stays right. Merged files never change, for their names come
from their bytes; what holds for all of them holds for those that are still there; and a newer row of a photo is in a
settled file or in one that is not listed. A missing list only costs time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from interlcm.errors import one_line
from pipeline import storage
from pipeline.manifest.schema import SCHEMA_VERSION
from pipeline.storage.output import Output

FORMAT = 1

Key = tuple[str, str]  # source and member


@dataclass(frozen=True)
class Settled:
    """A merged file: name and size; its rows, and their bytes before compression.

    first, last: bounds of the source and member of its rows. newest: how many of its rows, the leading ones, are the
    newest of their photos, in how many row groups. schema_version: of the manifest's columns.
    """

    name: str
    size: int
    rows: int
    bytes: int
    first: Key
    last: Key
    newest: int
    groups: int
    schema_version: int = SCHEMA_VERSION

    def meets(self, other: Settled) -> bool:
        """Whether both files may have rows of one photo."""
        return self.first <= other.last and other.first <= self.last


def read_settled(output: str, sizes: Mapping[str, int]) -> dict[str, Settled]:
    """The settled files by name, of those that are there, with sizes in bytes. Raises StorageError for a damaged list.

    It leaves out files with columns of a later version.
    """
    if not any(name.startswith("merged-") for name in sizes):
        return {}
    uri = Output(output).settled
    try:
        found = json.loads(storage.read_bytes(uri))
        if found["format"] != FORMAT:
            return {}  # of a later version, which says nothing to this one
        files = [Settled(**one | {key: tuple(one[key]) for key in ("first", "last")}) for one in found["files"]]
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return {}
    except (ValueError, TypeError, LookupError) as error:
        words = f"damaged ({one_line(error)}); remove it, and interlcm manifest compact writes it again"
        raise storage.StorageError(f"{uri}: {words}") from error
    readable = (file for file in files if file.schema_version <= SCHEMA_VERSION)
    return {file.name: file for file in readable if sizes.get(file.name) == file.size}


def write_settled(output: str, files: Iterable[Settled]) -> None:
    """Replace the list, whole or not at all, once these files are there and before the files that they replace go."""
    listed = [asdict(file) for file in sorted(files, key=lambda file: file.name)]
    data = json.dumps({"format": FORMAT, "files": listed}, indent=0)
    storage.write_bytes(Output(output).settled, data.encode() + b"\n")
