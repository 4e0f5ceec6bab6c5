"""The columns of the manifest, each with its unit and meaning in the metadata of its Arrow field."""

from __future__ import annotations

import pyarrow as pa

STATUSES = ("restored", "no_face", "skipped", "failed")


def _column(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"description": description, "unit": unit})


def _list(kind: pa.DataType, length: int = -1) -> pa.DataType:
    """A list that reads back from Parquet with the type it was written with: the format calls the items element."""
    return pa.list_(pa.field("element", kind), length)


BOX = _list(pa.float32(), 4)
LANDMARKS = _list(_list(pa.float32(), 2), 5)

FACE = pa.struct([
    _column("face_index", pa.int32(), "place among the photo's faces, by detector score, from 0"),
    _column("score", pa.float32(), "the detector's confidence"),
    _column("box", BOX, "x0, y0, x1, y1 in the upright photo", "px"),
    _column("landmarks", LANDMARKS, "x, y of left eye, right eye, nose, mouth left, mouth right", "px"),
    _column("eye_distance", pa.float32(), "distance of the eyes in the photo", "px"),
    _column("seed", pa.int64(), "seed of the noise of this face"),
    _column("psnr", pa.float32(), "peak signal-to-noise ratio, restored against aligned input", "dB"),
    _column("ssim", pa.float32(), "structural similarity, restored against aligned input, at most 1"),
    _column("identity_similarity", pa.float32(), "cosine of the identity embeddings; null without weights"),
    _column("quality_before", pa.float32(), "no-reference quality of the aligned input; null without weights"),
    _column("quality_after", pa.float32(), "no-reference quality of the restored face; null without weights"),
    _column("sharpness_before", pa.float32(), "variance of the Laplacian of the aligned input's luma"),
    _column("sharpness_after", pa.float32(), "variance of the Laplacian of the restored face's luma"),
    _column("delta_e", pa.float32(), "mean colour difference, restored against aligned input", "CIEDE2000"),
    _column("needs_review", pa.bool_(), "whether a person should look at this face"),
    _column("review_reason", pa.string(), "why; null when needs_review is false"),
])  # fmt: skip

MANIFEST_SCHEMA = pa.schema([
    _column("photo_id", pa.string(), "identity of the index row: 20 hex digits"),
    _column("source", pa.string(), "URI of the archive or folder"),
    _column("member", pa.string(), "path inside the source; empty for the row of an unreadable archive"),
    _column("sha256", pa.string(), "digest of the member's bytes; null when they could not be read"),
    _column("bytes", pa.int64(), "size of the member", "byte"),
    _column("format", pa.string(), "image format by content: jpeg, png, tiff, webp, ..."),
    _column("width", pa.int32(), "width of the upright photo", "px"),
    _column("height", pa.int32(), "height of the upright photo", "px"),
    _column("bit_depth", pa.int32(), "bits per channel of the source", "bit"),
    _column("status", pa.string(), f"one of {', '.join(STATUSES)}"),
    _column("error_type", pa.string(), "kind of failure or reason to skip; null otherwise"),
    _column("error", pa.string(), "the failure in one line; null otherwise"),
    _column("restored_uri", pa.string(), "where the restored photo is; null when there is none"),
    _column("restored_sha256", pa.string(), "digest of the restored photo's bytes"),
    _column("face_count", pa.int32(), "number of faces restored in this photo"),
    _column("faces", _list(FACE), "one struct per face; empty when there is none"),
    _column("detector", pa.string(), "the face detector that looked at this photo"),
    _column("weights_digest", pa.string(), "sha256 over the parts of the weights folder in use"),
    _column("settings_digest", pa.string(), "sha256 over the settings that change the result"),
    _column("software_version", pa.string(), "version of this software"),
    _column("seconds_fetch", pa.float32(), "time to read the member", "s"),
    _column("seconds_detect", pa.float32(), "time to decode, detect and align", "s"),
    _column("seconds_restore", pa.float32(), "this photo's share of the model's time", "s"),
    _column("seconds_compose", pa.float32(), "time to paste, score, encode and publish", "s"),
    _column("finished_at", pa.timestamp("us", tz="UTC"), "when this row was made", "UTC"),
])  # fmt: skip
