"""The photos of a run for an export: the newest row of each, streamed in chunks that never cross a source."""

from __future__ import annotations

import posixpath
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from interlcm.errors import InterLCMError
from pipeline.archives.names import fitting
from pipeline.manifest.schema import PENDING, REMOVED
from pipeline.storage.output import Output

Row = dict[str, Any]

CHUNK = 500  # photos: their PREMIS file has some 2 MB, which every editor opens
BATCH_ROWS = 2_000
MEDIA = {"jpg": "image/jpeg", "tif": "image/tiff"}  # where the type's name is not that of the extension
MEASURES = {
    "score": "detector score", "psnr": "PSNR in dB", "ssim": "SSIM", "delta_e": "colour difference CIEDE2000",
    "identity_similarity": "identity similarity", "eye_distance": "eye distance in px",
}  # fmt: skip
MEMORY = "800MB"  # of DuckDB, which sorts all rows; what does not fit goes to the disk

# What an export knows of a photo: its row, the decisions that count on it, whether its restored file goes out (`kept`:
# there is one, and nobody rejected the photo), and when that file was made, because a row that only follows a decision
# has a later time.
PHOTOS = f"""
SELECT p.*, i.archive_name, coalesce(m.made_at, p.finished_at) AS made_at,
    d.decided, coalesce(d.against, false) AS rejected,
    NOT rejected AND p.restored_uri IS NOT NULL AND p.status <> 'withdrawn' AS kept
FROM newest AS p
LEFT JOIN index AS i ON i.photo_id = p.index_id
LEFT JOIN (
    SELECT photo_id, bool_or(face_index IS NULL AND decision = 'reject') AS against,
        list({{face_index: face_index, decision: decision, comment: comment, decided_at: decided_at,
            reviewer: reviewer}} ORDER BY face_index NULLS FIRST) AS decided
    FROM decisions WHERE void IS NULL AND (decision IS NOT NULL OR comment <> '') GROUP BY photo_id
) AS d ON d.photo_id = p.photo_id
LEFT JOIN (
    SELECT photo_id, restored_sha256, min(finished_at) AS made_at FROM manifest
    WHERE photo_id IN (SELECT photo_id FROM decisions) GROUP BY photo_id, restored_sha256
) AS m ON m.photo_id = p.photo_id AND m.restored_sha256 = p.restored_sha256
WHERE p.status NOT IN ('skipped', '{PENDING}') AND p.member <> ''
    AND p.index_id NOT IN (SELECT index_id FROM newest WHERE status = '{REMOVED}') -- half removed, with further pages
"""
COUNTS = f"""
SELECT CASE WHEN rejected AND restored_uri IS NOT NULL AND status <> 'withdrawn' THEN 'rejected' ELSE status END AS why,
    kept, count(*) AS n
FROM ({PHOTOS}) GROUP BY ALL
"""


class ExportError(InterLCMError):
    """An export that cannot begin or go on: one line that names the place and the remedy."""


@dataclass(frozen=True)
class Counts:
    """How many photos an export has, and how many it leaves out, by reason: a status, or `rejected` where the output
    does not follow that decision yet."""

    kept: int
    left_out: dict[str, int]

    def words(self) -> str:
        """Such as "2 failed, 14 no_face"; empty if nothing was left out."""
        return ", ".join(f"{count} {why}" for why, count in sorted(self.left_out.items()))


@dataclass(frozen=True)
class Chunk:
    """Consecutive photos of one source. number: from 1 on, in its archive."""

    archive: str
    number: int
    rows: pa.Table

    @property
    def name(self) -> str:
        """The name of its files."""
        return chunk_name(self.archive, self.number)


def chunk_name(archive: str, number: int) -> str:
    return fitting(archive, f"-{number:05d}")


def counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    found = connection.sql(COUNTS).fetchall()
    kept = sum(count for _, is_kept, count in found if is_kept)
    return Counts(kept, {why: count for why, is_kept, count in found if not is_kept})


def ordered(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    return connection.sql(f"{PHOTOS} ORDER BY p.source, p.member, p.page, p.photo_id")


def chunks(connection: duckdb.DuckDBPyConnection) -> Iterator[Chunk]:
    """All photos, in the order of their sources and members."""
    written: Counter[str] = Counter()
    for table in cut(ordered(connection).to_arrow_reader(BATCH_ROWS), CHUNK):
        archive = (table["archive_name"][0].as_py() or "photos").replace("/", "_")
        written[archive] += 1
        yield Chunk(archive, written[archive], table)


def cut(batches: Iterable[pa.RecordBatch], most: int, whole: str = "") -> Iterator[pa.Table]:
    """The same rows in tables of at most `most` rows, each of one source.

    whole: a column that is true in rows of a source that is not to be cut.
    """
    waiting: pa.Table | None = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while waiting.num_rows:
            limit = sys.maxsize if whole and waiting[whole][0].as_py() else most
            sources = waiting["source"].slice(0, limit).to_numpy()
            end = int(np.argmax(sources != sources[0])) or len(sources)
            if end == waiting.num_rows and end < limit:
                break  # more of this source may follow
            yield waiting.slice(0, end)
            waiting = waiting.slice(end)
    if waiting is not None and waiting.num_rows:
        yield waiting


def path_of(row: Row, output: str) -> str:
    """The path of a photo's restored file below OUTPUT, which an export keeps: restored/<archive>/<member>.<ext>."""
    place = Output(output)
    uri = place.now(row["restored_uri"], row["archive_name"])
    if not uri.startswith(f"{place.uri}/"):
        raise ExportError(f"{uri}: not in {place.uri}; copy it to where it was when the run wrote it")
    return uri.removeprefix(f"{place.uri}/")


def media_type(path: str) -> str:
    """The media type of a restored file, by its extension."""
    extension = posixpath.splitext(path)[1].lstrip(".").lower()
    return MEDIA.get(extension, f"image/{extension}")


def xywh(face: Row) -> str:
    """The box of a face in the upright photo as a media fragment: xywh=<left>,<top>,<width>,<height>, px."""
    x0, y0, x1, y1 = face["box"]
    return f"xywh={x0:.0f},{y0:.0f},{x1 - x0:.0f},{y1 - y0:.0f}"


def face_words(face: Row) -> str:
    """A face in one line: its measures, and why a person should look at it."""
    measures = [f"{words}: {face[name]:.4g}" for name, words in MEASURES.items() if face[name] is not None]
    strength = [f"strength: {face['strength']:.2g}"] if face["strength"] not in (None, 1) else []
    review = [f"needs review: {face['review_reason']}"] if face["needs_review"] else []
    return "; ".join([*measures, *strength, *review])
