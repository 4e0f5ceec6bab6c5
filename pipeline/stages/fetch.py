"""First stage, fetch: read the members' bytes for index rows."""

import hashlib
import re
import time
from collections.abc import Iterator

import pyarrow as pa

from interlcm.errors import printable
from pipeline.archives.member import ArchiveError
from pipeline.archives.reader import check_source, check_unchanged, read_rows, source_trouble
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.stages.row import Row, ended, log, to_table
from pipeline.storage import traffic
from pipeline.storage.errors import StorageError

# After this many photos or bytes, a task passes its rows on and checks whether the run should stop. A run chooses the
# bytes (`pipeline/run/batching.py`).
BLOCK_PHOTOS, BLOCK_BYTES = 16, 16 << 20
LOGGED = 256  # ids in a line of the log, those of a unit; the unit of a compressed tar may have a million


def fetch(unit: pa.Table, job: Job, block_bytes: int = BLOCK_BYTES) -> Iterator[pa.Table]:
    """Read the members of index rows of one archive; one row out for each row in, readable or not.

    Raises StorageError if the archive or folder itself is gone, denies access, or was replaced while it was read.
    """
    job.environment.use()
    telemetry.label(job.output, job.number)
    index_rows = unit.to_pylist()
    if index_rows:
        some = " ".join(row["photo_id"] for row in index_rows[:LOGGED])
        log.info("fetch begins %s photos of %s: %s", len(index_rows), index_rows[0]["source"], some)
    rows: list[Row] = []
    size, before = 0, traffic.read.size
    for row in fetched(index_rows, job.settings.limits):
        rows.append(row)
        size += len(row["data"] or b"")
        if size >= block_bytes or len(rows) == BLOCK_PHOTOS:
            yield checked(rows, index_rows[0])
            rows, size = [], 0
    telemetry.fetched(traffic.read.size - before)
    if rows:
        yield checked(rows, index_rows[0])


def checked(rows: list[Row], index_row: Row) -> pa.Table:
    """The rows as a table. Raises StorageError if the archive is no longer the one that was indexed."""
    with source_trouble(index_row["source"]):
        check_unchanged(index_row["source"], index_row["source_version"])
    return to_table(rows, "fetch")


def fetched(index_rows: list[Row], limits: Limits) -> Iterator[Row]:
    wanted: list[Row] = []
    for index_row in index_rows:
        row = started(index_row)
        if row["status"] is None:
            wanted.append(index_row)
        else:
            yield row
    if wanted:
        yield from read_members(wanted, limits)


def started(index_row: Row) -> Row:
    """The row of one photo; it has a final status already if there is nothing to read."""
    row: Row = {name: index_row.get(name) for name in ("photo_id", "source", "archive_name", "member")}
    row |= {"occurrence": index_row["occurrence"], "bytes": index_row["bytes"], "status": None, "faces": []}
    row |= {"page": 1, "pages": 1}
    kind = index_row["kind"]
    if index_row["error_type"] is not None:
        return ended(row, "failed", index_row["error_type"], index_row["error"]) | {"stage": "index"}
    if kind == "removed":  # its row in the manifest was lost
        return ended(row, "removed")
    if kind != "file":
        return ended(row, "skipped", "not_a_file", f"a {kind}, not a file")
    # In a bucket "/a.jpg" is the key "scans//a.jpg": slashes in a row are left out of the restored photo's path.
    if unsafe(row["member"].lstrip("/") if index_row["archive_format"] == "folder" else row["member"]):
        remedy = "this path leads outside OUTPUT; rename the member in the archive"
        return ended(row, "failed", "unsafe_path", printable(f"{row['member']}: {remedy}"))
    return row


def unsafe(path: str) -> bool:
    """Whether a member's path leads outside the folder that it is written to, on any operating system."""
    drive = re.match("[A-Za-z]:", path)  # a colon elsewhere may be a time of day
    return bool(drive) or path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path) or "\0" in path


def read_members(index_rows: list[Row], limits: Limits) -> Iterator[Row]:
    """Rows with the bytes of members of one archive, or with the reason why they could not be read."""
    begun = time.perf_counter()
    for index_row, data in read_rows(index_rows, limits):
        if isinstance(data, ArchiveError):
            data = asked_again(index_row, data, limits)
        data = compared(index_row, data)
        yield received({**started(index_row), "seconds_fetch": time.perf_counter() - begun}, data)
        begun = time.perf_counter()


def asked_again(index_row: Row, error: ArchiveError, limits: Limits) -> bytes | ArchiveError:
    """Read a member a second time if storage failed although the source is there; else return the same error."""
    check_source(index_row["source"], index_row["archive_format"], index_row["source_version"])
    if not isinstance(error.__cause__, StorageError):
        return error
    ((_, data),) = read_rows([index_row], limits)
    if isinstance(data, ArchiveError):
        check_source(index_row["source"], index_row["archive_format"], index_row["source_version"])
    return data


def compared(index_row: Row, data: bytes | ArchiveError) -> bytes | ArchiveError:
    """The bytes, if they have the checksum that a manifest gives the member."""
    algorithm, _, digest = (index_row.get("checksum") or "").partition(":")
    if isinstance(data, ArchiveError) or not digest:
        return data
    found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    if found == digest:
        return data
    words = f"its {algorithm} is {found}, and {digest} in the bag's manifest; fetch the file again"
    return ArchiveError(f"{index_row['member']}: {words}", "checksum_mismatch")


def received(row: Row, data: bytes | ArchiveError) -> Row:
    if isinstance(data, ArchiveError):
        return ended(row, "failed", data.error_type, str(data))
    return {**row, "data": data}
