"""The row that every stage takes and returns: one photo and all that is known about it so far.

Stages pass on encoded bytes and aligned crops, never decoded photos. Every column has a fixed Arrow type, so that a
block with a column of nulls has the same schema as every other block.
"""

import logging
import socket
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interlcm.errors import printable, without_secrets
from pipeline import storage
from pipeline.photos.errors import PhotoError
from pipeline.photos.warning import PhotoWarning

log = logging.getLogger("interlcm")

Row = dict[str, Any]
Crops = npt.NDArray[Any]  # uint8, or uint16 where bit_depth > 8

FOUND_FACE = pa.struct(
    [
        ("score", pa.float32()),
        ("box", pa.list_(pa.float32())),  # x0, y0, x1, y1
        ("landmarks", pa.list_(pa.float32())),  # 5 x, y pairs
        ("matrix", pa.list_(pa.float64())),  # (2, 3) photo -> crop, row by row
        ("seed", pa.int64()),
        ("one_tone", pa.bool_()),  # whether the face has one tone, which it keeps
        ("strength", pa.float32()),  # share of the restored face in its pixels, 0 to 1
        ("accepted", pa.bool_()),  # by a curator
        ("identity_similarity", pa.float32()),
        ("quality_before", pa.float32()),
        ("quality_after", pa.float32()),
        ("face_share", pa.float32()),
    ]
)

WARNING = pa.struct([("kind", pa.string()), ("words", pa.string())])  # as photos.warning.PhotoWarning

# `status` is null while a photo is in progress; a stage passes rows with a status on unchanged. A photo without faces
# stays in progress only if it goes into restored/ too (`Settings.every_photo`).
SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("source", pa.string()),
        ("archive_name", pa.string()),
        ("member", pa.string()),
        ("occurrence", pa.int32()),
        ("page", pa.int32()),  # from 1
        ("pages", pa.int32()),  # of the member, one row each; 1 until it is decoded
        ("bytes", pa.int64()),
        ("status", pa.string()),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("stage", pa.string()),  # where it failed, and on which machine; null otherwise
        ("node", pa.string()),
        ("traceback", pa.string()),  # the end of an unexpected error's
        ("warnings", pa.list_(WARNING)),  # null or empty: none
        ("data", pa.large_binary()),  # the member's bytes; for a page of a TIFF, a TIFF with this page alone
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bit_depth", pa.int32()),
        ("monochrome", pa.bool_()),
        ("detector", pa.string()),
        ("rotation", pa.int32()),
        ("withdrawn", pa.bool_()),  # this and the next three by a verdict; null without one
        ("reviewed_as", pa.string()),
        ("reviewed_by", pa.string()),
        ("reviewed_at", pa.timestamp("us", tz="UTC")),
        ("faces", pa.list_(FOUND_FACE)),
        ("crops", pa.large_binary()),  # (faces, S, S, 3) sRGB, aligned; uint16 where bit_depth > 8, else uint8
        ("restored_crops", pa.large_binary()),  # the same shape and type, restored
        ("masks", pa.large_binary()),  # (faces, S, S) uint8, 255 where the restored face counts; null: the ellipse
        ("background", pa.large_binary()),  # the enlarged photo as a PNG in sRGB; null: Lanczos
        ("seconds_fetch", pa.float32()),
        ("seconds_detect", pa.float32()),
        ("seconds_restore", pa.float32()),
    ]
)


FRAMES, TRACEBACK = 5, 3000  # of an unexpected error: frames, and characters with all its causes
WORKER_DIED = "worker_died"  # error_type of a photo whose worker could not say where it failed
NOTHING_MORE = dict.fromkeys(("data", "crops", "restored_crops", "masks", "background"))


def each_open(table: pa.Table, work: Callable[[Row], Row]) -> pa.Table:
    """Apply `work` to every row that has no status yet; rows in = rows out, in the same order.

    An unexpected error fails its own row and no other. A storage error that every photo would meet is raised.
    """
    return to_table([guarded(row, work) if row["status"] is None else row for row in table.to_pylist()])


def guarded(row: Row, work: Callable[[Row], Row]) -> Row:
    try:
        return work(row)
    except PhotoError as error:
        return ended(row, "failed", error.error_type, str(error))
    except Exception as error:
        if isinstance(error, storage.StorageError) and error.stops_run:
            raise
        return unforeseen(row, error)


def unforeseen(row: Row, error: Exception) -> Row:
    """The failed row of a photo that met an unexpected error, with the end of its traceback."""
    failed = ended(row, "failed", type(error).__name__, f"{type(error).__name__}: {error}")
    return {**failed, "traceback": end_of_traceback(error)}


def end_of_traceback(error: Exception) -> str:
    """The last frames of an error and of those that caused it, in at most TRACEBACK characters."""
    lines = "".join(traceback.format_exception(error, limit=-FRAMES))
    return printable(without_secrets(lines[-TRACEBACK:]), kept="\n").strip()


def placed(row: Row, stage: str) -> Row:
    """The row; if it failed just now, with the stage and the machine where that was, as the log says too."""
    if row["status"] != "failed" or row.get("stage") is not None or row["error_type"] == WORKER_DIED:
        return row
    log.info("%s failed in %s: %s: %s", row["photo_id"], stage, row["error_type"], row["error"])
    return {**row, "stage": stage, "node": socket.gethostname()}


def ended(row: Row, status: str, error_type: str | None = None, error: str | None = None) -> Row:
    """The row with its final status, without the columns that only later stages need. `error` becomes one line."""
    error = " ".join(error.split()) if error else None
    return {
        **row,
        "status": status,
        "error_type": error_type,
        "error": error,
        "data": None,
        "crops": None,
        "masks": None,
    }


def warned(row: Row, found: Iterable[PhotoWarning]) -> Row:
    """The row with these warnings added after its own."""
    return {**row, "warnings": [*(row.get("warnings") or []), *map(asdict, found)]}


def to_table(rows: list[Row], stage: str = "") -> pa.Table:
    """stage: that made these rows, if it did; a row that failed there says so."""
    return pa.Table.from_pylist([placed(row, stage) for row in rows] if stage else rows, schema=SCHEMA)


def crops_of(row: Row, column: str) -> Crops:
    """The crops of a row as (faces, S, S, 3), uint8 or uint16 by the photo's bit depth; read-only."""
    count = len(row["faces"])
    if not count:
        return np.zeros((0, 0, 0, 3), crop_type(row["bit_depth"]))
    flat = np.frombuffer(row[column], crop_type(row["bit_depth"]))
    side = round((flat.size / (3 * count)) ** 0.5)
    return flat.reshape(count, side, side, 3)


def published_crops(row: Row) -> Crops:
    """The faces as the restored photo shows them: each restored crop blended with its input by its strength."""
    before, after = crops_of(row, "crops"), crops_of(row, "restored_crops")
    share = np.array([one["strength"] for one in row["faces"]], np.float32)[:, None, None, None]
    if (share == 1).all():
        return after
    blended: Crops = np.rint(before + share * (after.astype(np.float32) - before)).astype(after.dtype)
    return blended


def crop_type(bit_depth: int) -> type[np.uint8] | type[np.uint16]:
    """The type of a photo's crops: uint16 for more than 8 bits a channel, else uint8."""
    return np.uint16 if bit_depth > 8 else np.uint8
