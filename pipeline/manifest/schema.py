"""The columns of the manifest, each with its unit and meaning in the metadata of its Arrow field.

Columns are added, never renamed, retyped or removed, and `SCHEMA_VERSION`, which stands in the metadata of every part,
counts these additions. A part of an earlier version reads as if it had the new columns with nulls, and the views fill
in what is known; compaction rewrites it in the newest version. A part of a later version is refused: what it means is
not known here.

    1  the first
    2  page, pages (1 in version 1), monochrome, mask
    3  rotation
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.index.schema import column

SCHEMA_VERSION = 3
STATUSES = ("restored", "no_face", "skipped", "failed")
DECISIONS = ("accept", "reject")
STAGES = ("fetch", "detect", "restore", "compose")  # of a run: seconds_<stage> is the time that a photo took in it


def _list(kind: pa.DataType, length: int = -1) -> pa.DataType:
    """A list that reads back from Parquet with the type it was written with: the format calls the items element."""
    return pa.list_(pa.field("element", kind), length)


BOX = _list(pa.float32(), 4)
LANDMARKS = _list(_list(pa.float32(), 2), 5)

FACE = pa.struct([
    column("face_index", pa.int32(), "place among the photo's faces, by detector score, from 0"),
    column("score", pa.float32(), "the detector's confidence"),
    column("box", BOX, "x0, y0, x1, y1 in the upright photo", "px"),
    column("landmarks", LANDMARKS, "x, y of left eye, right eye, nose, mouth left, mouth right", "px"),
    column("eye_distance", pa.float32(), "distance of the eyes in the photo", "px"),
    column("seed", pa.int64(), "seed of the noise of this face"),
    column("psnr", pa.float32(), "peak signal-to-noise ratio, restored against aligned input", "dB"),
    column("ssim", pa.float32(), "structural similarity, restored against aligned input, at most 1"),
    column("identity_similarity", pa.float32(), "cosine of the identity embeddings; null without weights"),
    column("quality_before", pa.float32(), "no-reference quality of the aligned input; null without weights"),
    column("quality_after", pa.float32(), "no-reference quality of the restored face; null without weights"),
    column("sharpness_before", pa.float32(), "variance of the Laplacian of the aligned input's luma"),
    column("sharpness_after", pa.float32(), "variance of the Laplacian of the restored face's luma"),
    column("delta_e", pa.float32(), "mean colour difference, restored against aligned input", "CIEDE2000"),
    column("needs_review", pa.bool_(), "whether a person should look at this face"),
    column("review_reason", pa.string(), "why; null when needs_review is false"),
])  # fmt: skip

MANIFEST_SCHEMA = pa.schema([
    column("photo_id", pa.string(), "of the index row, 20 hex digits; of a further page with -p and its number"),
    column("source", pa.string(), "URI of the archive or folder"),
    column("member", pa.string(), "path inside the source; empty for the row of an unreadable archive"),
    column("page", pa.int32(), "of a TIFF with several pictures the page, from 1; 1 for all others"),
    column("pages", pa.int32(), "pictures in the member: each has its row"),
    column("sha256", pa.string(), "digest of the member's bytes; null when they could not be read"),
    column("bytes", pa.int64(), "size of the member", "byte"),
    column("format", pa.string(), "image format by content: jpeg, png, tiff, webp, ..."),
    column("width", pa.int32(), "width of the upright photo", "px"),
    column("height", pa.int32(), "height of the upright photo", "px"),
    column("bit_depth", pa.int32(), "bits per channel of the source", "bit"),
    column("monochrome", pa.bool_(), "whether the photo has one tone (grey, sepia); restored faces then keep it"),
    column("status", pa.string(), f"one of {', '.join(STATUSES)}"),
    column("error_type", pa.string(), "kind of failure or reason to skip; null otherwise"),
    column("error", pa.string(), "the failure in one line; null otherwise"),
    column("restored_uri", pa.string(), "where the restored photo is; null when there is none"),
    column("restored_sha256", pa.string(), "digest of the restored photo's bytes"),
    column("face_count", pa.int32(), "number of faces restored in this photo"),
    column("faces", _list(FACE), "one struct per face; empty when there is none"),
    column("detector", pa.string(), "the face detector that looked at this photo; null for aligned input"),
    column("rotation", pa.int32(), "how far to turn the photo clockwise for its faces to stand upright", "degree"),
    column("mask", pa.string(), "how faces were pasted: parsenet, ellipse or square (aligned input)"),
    column("weights_digest", pa.string(), "sha256 over the parts of the weights folder in use"),
    column("settings_digest", pa.string(), "sha256 over the settings that change the result"),
    column("software_version", pa.string(), "version of this software"),
    column("seconds_fetch", pa.float32(), "time to read the member", "s"),
    column("seconds_detect", pa.float32(), "time to decode, detect and align", "s"),
    column("seconds_restore", pa.float32(), "this photo's share of the model's time", "s"),
    column("seconds_compose", pa.float32(), "time to paste, score, encode and publish", "s"),
    column("finished_at", pa.timestamp("us", tz="UTC"), "when this row was made", "UTC"),
], metadata={"schema_version": str(SCHEMA_VERSION)})  # fmt: skip

DECISION_SCHEMA = pa.schema([
    column("photo_id", pa.string(), "of the photo that was looked at"),
    column("face_index", pa.int32(), "which of its faces; null: the photo as a whole"),
    column("decision", pa.string(), f"{' or '.join(DECISIONS)}; null where only a comment was made"),
    column("comment", pa.string(), "the curator's words; empty where there are none"),
    column("decided_at", pa.timestamp("us", tz="UTC"), "when; the newest of a photo or face counts", "UTC"),
])  # fmt: skip
