"""The pictures of the report: which photos get display copies, and the work that makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline import storage
from pipeline.archives.member import ArchiveError
from pipeline.archives.reader import read_rows
from pipeline.cluster import connect as cluster
from pipeline.cluster.spread import spread
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.index.units import split
from pipeline.manifest import query
from pipeline.photos.errors import PhotoError
from pipeline.sandbox import parent as sandbox
from pipeline.stages.row import Row
from pipeline.storage import local_disk
from pipeline.storage.output import Output

# The newest row of each photo in the index, with the columns needed to read its member again.
NEWEST = """
SELECT p.* EXCLUDE (index_id, source, member, bytes), i.* EXCLUDE (photo_id, error, error_type)
FROM newest AS p JOIN index AS i ON i.photo_id = p.index_id
"""
ORDER = 'ORDER BY source, "offset", member, page, photo_id'
# --pictures NAME -> which photos get copies.
CHOICES = {
    "all": "status IN ('restored', 'no_face', 'withdrawn')",
    "review": "status = 'restored' AND len(list_filter(faces, lambda f: f.needs_review)) > 0",
    "none": "false",
}
COPIES = 3  # the version of what a folder of copies holds
DONE = pa.schema([("photo_id", pa.string()), ("bytes", pa.int64()), ("error", pa.string())])


@dataclass(frozen=True)
class Task:
    """The settings of every worker that makes copies.

    output: URI of the run. max_side: greatest side of a photo, px.
    """

    output: str
    max_side: int
    limits: Limits
    environment: Environment


def folder(photo_id: str, version: str | None, max_side: int) -> str:
    """The folder of a photo's copies below report/. It differs for each result, so copies are never out of date."""
    digest = hashlib.sha256(f"{version}/{max_side}/{COPIES}".encode()).hexdigest()[:8]
    return f"pictures/{photo_id[:2]}/{photo_id}-{digest}"


def wanted(output: str, choice: str) -> pa.Table:
    """The rows of the photos of `choice`, a key of CHOICES, in the order of their archives."""
    sql = f"SELECT * FROM ({NEWEST}) WHERE {CHOICES[choice]} {ORDER}"
    return query.reading(output, lambda connection: query.run(connection, sql), decided=False, whole=True)


def row_folder(row: Row, max_side: int) -> str:
    return folder(row["photo_id"], row["restored_sha256"] or row["sha256"], max_side)


def existing(report: str) -> set[str]:
    """The folders with all their copies: the thumbnail is written last."""
    names = files(report)
    return {f"pictures/{name.removesuffix('/thumbnail.jpg')}" for name in names if name.endswith("/thumbnail.jpg")}


def files(report: str) -> list[str]:
    """The paths of all copies below report/pictures/."""
    pictures = storage.join(report, "pictures")
    return [name for name, _ in storage.list_files(pictures)] if storage.exists(pictures) else []


def remove_others(output: str, max_side: int) -> int:
    """Remove the copies of earlier results, of another `max_side`, and of photos that are not in the report any more.

    Those that another choice of photos would show stay. Returns the number of their folders.
    """
    sql = f"SELECT photo_id, restored_sha256, sha256 FROM ({NEWEST}) WHERE {CHOICES['all']}"
    rows = query.reading(output, lambda connection: query.run(connection, sql), decided=False, whole=True)
    kept = {row_folder(row, max_side) for row in rows.to_pylist()}
    report = Output(output).report
    others: dict[str, list[str]] = {}
    for name in files(report):
        place = "/".join(name.split("/")[:2])
        if f"pictures/{place}" not in kept:
            others.setdefault(place, []).append(name)
    pictures = storage.join(report, "pictures")
    storage.remove_all(pictures, [name for names in others.values() for name in names])
    if others and storage.is_local(pictures):
        local_disk.remove_empty(Path(pictures))
    return len(others)


def make(rows: pa.Table, task: Task) -> Iterator[pa.Table]:
    """Make the copies for these rows of `wanted`; yields tables of DONE, one row per photo.

    Raises ModuleNotFoundError if the decoders are not installed.
    """
    # Before the threads: where an import fails in one thread, another that waits for it gets half a module.
    from pipeline.report import display_copies  # noqa: F401

    yield from spread(copy_unit, ((unit, task) for unit in split(rows, cluster.cpus())))


def copy_unit(unit: pa.Table, task: Task) -> pa.Table:
    """Make the copies of one archive, or of a part of it; each member is read once, even with several pages."""
    task.environment.use()
    done = [copy_photo(row, data, task) for row, data in read_rows(unit.to_pylist(), task.limits)]
    return pa.Table.from_pylist(done, schema=DONE)


def copy_photo(row: Row, data: bytes | ArchiveError, task: Task) -> Row:
    """Make and write the copies of one photo. An error becomes its result and does not affect other photos."""
    from pipeline.report.display_copies import display_copies  # needs the decoders, which a report alone does not

    if isinstance(data, ArchiveError):
        return result(row, error=str(data))
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        return result(row, error=f"{row['source']}: {row['member']}: changed since it was restored")
    try:
        uri = row["restored_uri"] and Output(task.output).now(row["restored_uri"], row["archive_name"])
        after = storage.read_bytes(uri) if uri and row["faces"] else None  # without faces it is as before
        landmarks = [face["landmarks"] for face in row["faces"]]
        files = sandbox.run(
            display_copies, data, row["page"], after, landmarks, task.max_side, task.limits, limits=task.limits
        )
    except PhotoError as error:
        return result(row, error=str(error))
    except storage.StorageError as error:
        if error.stops_run:
            raise
        return result(row, error=str(error))
    storage.publish_all(storage.join(Output(task.output).report, row_folder(row, task.max_side)), files)
    return result(row, size=sum(map(len, files.values())))


def result(row: Row, size: int = 0, error: str | None = None) -> Row:
    return {"photo_id": row["photo_id"], "bytes": size, "error": error}
