"""The index at each start of a run: a photo whose file changed since it was indexed is pending again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from interlcm.errors import printable
from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.index import changed, copies
from pipeline.index.build import IndexSummary, build_index
from pipeline.index.changed import Changed, Renewed
from pipeline.index.schema import ROOT_ID
from pipeline.index.sources import Source
from pipeline.manifest import query
from pipeline.manifest.schema import PENDING
from pipeline.manifest.write import write_part
from pipeline.run.attempts import last_number
from pipeline.storage.output import Output

_PART = 8192  # rows of a manifest part


def scan(found: Sequence[Source], output: str, limits: Limits, zip_names: str = "") -> IndexSummary:
    """`build_index`. Changed files of folders get a manifest row with status pending, then their index row is renewed.

    Between the two, restored files of the former content are removed: the new content may give none that would replace
    them. If a start is killed on the way, the next one finds the same changes and does all of it again. Raises
    StorageError. Of files that are gone, the summary has those that have a result.
    """
    summary = build_index(found, output, limits, zip_names)
    summary = replace(summary, gone=with_results(output, summary.gone))
    if summary.changed:
        number = last_number(output)
        for file in changed.renewed(output, summary.changed):
            mark(output, file.photos, number)
            for uri in published(output, file):
                storage.remove(uri)
            changed.write_renewed(output, file)
        # Copied anew, or each question reads all files of the copies that held the changed ones.
        summary = replace(summary, index=copies.kept(output))
    return summary


def with_results(output: str, members: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of these members, given by source and member, that have a result."""
    if not members:
        return ()
    sources, names = zip(*members, strict=True)
    asked = pa.table({"source": pa.array(sources, pa.string()), "member": pa.array(names, pa.string())})

    def found(connection: duckdb.DuckDBPyConnection) -> pa.Table:
        connection.register("asked", asked)
        done = "status IN ('restored', 'no_face', 'withdrawn')"
        rows = f"SELECT DISTINCT source, member FROM photos WHERE {done}"
        return query.run(connection, f"SELECT * FROM ({rows}) SEMI JOIN asked USING (source, member) ORDER BY ALL")

    table = query.reading(output, found, decided=False)
    return tuple(zip(table["source"].to_pylist(), table["member"].to_pylist(), strict=True))


def published(output: str, file: Renewed) -> list[str]:
    """Where restored files of these photos and their pages are, or were."""
    ids = pa.table({"photo_id": list(file.photos)})

    def found(connection: duckdb.DuckDBPyConnection) -> pa.Table:
        connection.register("changed", ids)
        rows = f"SELECT DISTINCT {ROOT_ID} AS photo_id, restored_uri FROM manifest WHERE restored_uri IS NOT NULL"
        return query.run(connection, f"SELECT * FROM ({rows}) SEMI JOIN changed USING (photo_id)")

    names = dict(zip(file.table["photo_id"].to_pylist(), file.table["archive_name"].to_pylist(), strict=True))
    place = Output(storage.canonical(output))
    rows = query.reading(output, found, decided=False).to_pylist()
    uris = [place.now(row["restored_uri"], names[row["photo_id"]]) for row in rows]
    own = (f"{place.restored}/", f"{place.withdrawn}/")
    return [uri for uri in uris if uri.startswith(own)]  # never a file of another run


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
