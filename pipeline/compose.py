"""Last stage: restored crops pasted back and scored, the photo published, then the manifest part that says so."""

import hashlib
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from pipeline import face, manifest, photo, row, storage
from pipeline.columns import MANIFEST_SCHEMA
from pipeline.member import place
from pipeline.row import Row, crops_of
from pipeline.score import score_face
from pipeline.settings import Job

DONE = pa.schema([("photo_id", pa.string()), ("status", pa.string()), ("face_count", pa.int32())])


def compose(table: pa.Table, job: Job) -> pa.Table:
    """Publish a batch of photos, then commit their rows as one manifest part; gives `DONE`, one row per photo.

    The order matters: the row is the commit, so whatever dies before it is done again and overwrites itself.
    """
    job.environment.use()
    rows = [finished(current, job) for current in table.to_pylist()]
    manifest.write_part(rows, job.output, job.attempt)
    return pa.Table.from_pylist([{name: r[name] for name in DONE.names} for r in rows], schema=DONE)


def finished(current: Row, job: Job) -> Row:
    """The manifest row of one photo; its restored file is published before this returns."""
    if current["status"] is None:
        current = row.guarded(current, lambda open_row: publish(open_row, job))
    restored = current["status"] == "restored"
    current |= {
        "face_count": len(current["faces"]) if restored else 0,
        "faces": current["faces"] if restored else [],
        "weights_digest": job.weights_digest,
        "settings_digest": job.settings.digest(),
        "software_version": job.software_version,
        "finished_at": datetime.now(UTC),
    }
    return {name: current.get(name) for name in MANIFEST_SCHEMA.names}


def publish(current: Row, job: Job) -> Row:
    """Paste, score, encode and write one photo."""
    begun = time.perf_counter()
    decoded = photo.decode(current["data"])
    aligned, restored = crops_of(current, "crops"), crops_of(current, "restored_crops")
    for found, crop in zip(current["faces"], restored, strict=True):
        face.paste(decoded.pixels, crop, np.array(found["matrix"]).reshape(2, 3))
    format = output_format(decoded.format, job.settings.format)
    data = photo.encode(decoded, decoded.pixels, format, job.settings.quality)
    uri = storage.join(job.output, "restored", restored_path(current, format))
    storage.write_bytes(uri, data)
    faces = [describe(n, one, aligned[n], restored[n]) for n, one in enumerate(current["faces"])]
    return row.ended(current, "restored") | {
        "faces": faces,
        "restored_uri": uri,
        "restored_sha256": hashlib.sha256(data).hexdigest(),
        "seconds_compose": time.perf_counter() - begun,
    }


def output_format(source: str, wanted: str) -> str:
    """The format asked for; a source format that cannot be written becomes png."""
    if wanted != "source":
        return wanted
    return source if source in photo.EXTENSIONS else "png"


def restored_path(current: Row, format: str) -> str:
    """Below restored/: the member's whole path, then the extension of the output: no two members share a file."""
    again = f".{current['photo_id']}" if current["occurrence"] else ""
    return f"{current['archive_name']}/{place(current['member'])}{again}.{photo.EXTENSIONS[format]}"


def describe(index: int, found: Row, aligned: row.Crops, restored: row.Crops) -> Row:
    """The manifest's struct of one face."""
    points = np.array(found["landmarks"], np.float32).reshape(5, 2)
    return {
        "face_index": index,
        "score": found["score"],
        "box": found["box"],
        "landmarks": points.tolist(),
        "eye_distance": float(np.linalg.norm(points[1] - points[0])),
        "seed": found["seed"],
        **score_face(aligned, restored),
    }
