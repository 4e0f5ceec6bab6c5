"""The index at each start of a run: a photo whose file changed since it was indexed is pending again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from interlcm.errors import printable
from pipeline.config.limits import Limits
from pipeline.index import changed
from pipeline.index.build import IndexSummary, build_index
from pipeline.index.changed import Changed
from pipeline.index.sources import Source
from pipeline.manifest.schema import PENDING
from pipeline.manifest.write import write_part
from pipeline.run.attempts import next_number
from pipeline.storage.output import Output

_PART = 8192  # rows of a manifest part


def scan(found: Sequence[Source], output: str, limits: Limits, zip_names: str = "") -> IndexSummary:
    """`build_index`. Changed files of folders get a manifest row with status pending, then their index row is renewed.

    Killed between the two, the next start finds the same files and does both again. Raises StorageError.
    """
    summary = build_index(found, output, limits, zip_names)
    if summary.changed:
        number = next_number(output) - 1
        for file in changed.renewed(output, summary.changed):
            mark(Output(output).uri, file.photos, number)
            changed.write(output, file)
    return summary


def mark(output: str, photos: Mapping[str, Changed], number: int) -> None:
    """Write a row with status pending for each photo. number: of the last attempt, 0 if there was none."""
    rows = [
        {
            "photo_id": photo_id,
            "source": change.source,
            "member": change.member,
            "status": PENDING,
            "error_type": "source_changed",
            "error": printable(f"{change.member}: its file changed since it was indexed, and is to be restored again"),
            "bytes": change.bytes,
            "faces": [],
            "attempt": number,
            "finished_at": datetime.now(UTC),
        }
        for photo_id, change in photos.items()
    ]
    for first in range(0, len(rows), _PART):
        write_part(rows[first : first + _PART], output, f"changed {uuid.uuid4().hex}")
