"""The photos of a run for an export: the newest row of each, streamed in chunks that never cross a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from interlcm.errors import InterLCMError
from pipeline.archives.names import fitting
from pipeline.manifest.schema import PENDING
from pipeline.storage.output import Output

Row = dict[str, Any]

CHUNK = 500  # photos: their PREMIS file has some 2 MB, which every editor opens
BATCH_ROWS = 2_000
MEMORY = "2GB"  # of DuckDB, which sorts all rows; what does not fit goes to the disk

# What an export knows of a photo: its row, the decisions on this result (not on an earlier one), and whether its
# restored file goes out (`kept`): there is one, and nobody rejected the photo.
PHOTOS = f"""
SELECT p.*, i.archive_name, list_filter(d.decided, lambda one: one.decided_at >= p.finished_at) AS decided,
    coalesce(d.rejected_at >= p.finished_at, false) AS rejected,
    NOT rejected AND p.restored_uri IS NOT NULL AND p.status <> 'withdrawn' AS kept
FROM newest AS p
LEFT JOIN index AS i ON i.photo_id = p.index_id
LEFT JOIN (
    SELECT photo_id, max(decided_at) FILTER (face_index IS NULL AND decision = 'reject') AS rejected_at,
        list({{face_index: face_index, decision: decision, comment: comment, decided_at: decided_at}}
            ORDER BY face_index NULLS FIRST) AS decided
    FROM decisions GROUP BY photo_id
) AS d ON d.photo_id = p.photo_id
WHERE p.status NOT IN ('skipped', '{PENDING}') AND p.member <> ''
"""
COUNTS = (
    f"SELECT CASE WHEN rejected THEN 'rejected' ELSE status END AS why, kept, count(*) FROM ({PHOTOS}) GROUP BY ALL"
)


class ExportError(InterLCMError):
    """An export that cannot begin or go on: one line that names the place and the remedy."""


@dataclass(frozen=True)
class Counts:
    """How many photos an export has, and how many it leaves out, by reason: a status, or `rejected`."""

    kept: int
    left_out: dict[str, int]

    def words(self) -> str:
        """Such as "2 failed, 14 no_face"; empty if nothing was left out."""
        return ", ".join(f"{count} {why}" for why, count in sorted(self.left_out.items()))


@dataclass(frozen=True)
class Chunk:
    """Consecutive photos of one source. name: of its files, `<archive name>-<number from 1>`."""

    name: str
    rows: pa.Table


def counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    found = connection.sql(COUNTS).fetchall()
    kept = sum(count for _, is_kept, count in found if is_kept)
    return Counts(kept, {why: count for why, is_kept, count in found if not is_kept})


def chunks(connection: duckdb.DuckDBPyConnection) -> Iterator[Chunk]:
    """All photos, in the order of their sources and members."""
    ordered = connection.sql(f"{PHOTOS} ORDER BY p.source, p.member, p.page, p.photo_id")
    number, source = 0, None
    for table in cut(ordered.to_arrow_reader(BATCH_ROWS)):
        first = {name: table[name][0].as_py() for name in ("source", "archive_name")}
        number = number + 1 if first["source"] == source else 1
        source = first["source"]
        ending = f"-{number:05d}"
        yield Chunk(fitting((first["archive_name"] or "photos").replace("/", "_"), ending), table)


def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of at most CHUNK rows, each of one source."""
    waiting: pa.Table | None = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while (end := _same_source(waiting)) < waiting.num_rows or end == CHUNK:
            yield waiting.slice(0, end)
            waiting = waiting.slice(end)
    if waiting is not None and waiting.num_rows:
        yield waiting


def _same_source(table: pa.Table) -> int:
    """How many of the first rows have the source of the first one; at most CHUNK."""
    sources = table["source"].slice(0, CHUNK).to_numpy()
    return (int(np.argmax(sources != sources[0])) or len(sources)) if len(sources) else 0


def path_of(row: Row, output: str) -> str:
    """The path of a photo's restored file below OUTPUT, which an export keeps: restored/<archive>/<member>.<ext>."""
    place = Output(output)
    uri = place.now(row["restored_uri"], row["archive_name"])
    if not uri.startswith(f"{place.uri}/"):
        raise ExportError(f"{uri}: not in {place.uri}; copy it to where it was when the run wrote it")
    return uri.removeprefix(f"{place.uri}/")
