"""The columns of the manifest, each with its unit and meaning in the metadata of its Arrow field.

Columns are added, never renamed, retyped or removed. `SCHEMA_VERSION`, which is in the metadata of every part, counts
these additions. A part of an earlier version reads as if its new columns were null, and the views fill in what is
known; compaction rewrites it in the newest version. A part of a later version is refused, because its meaning is
unknown.

    1  the first
    2  page, pages (1 in version 1), monochrome, mask
    3  warnings, attempt, rotation
    4  landmark_error of a face
    5  one_tone, face_share, strength and accepted of a face; reviewed_as, reviewed_by, reviewed_at; the status
       withdrawn; stage, node, traceback
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.index.schema import column
from pipeline.photos.warning import KINDS

SCHEMA_VERSION = 5
OUTCOMES = ("restored", "no_face", "skipped", "failed")  # of the stages
STATUSES = (*OUTCOMES, "withdrawn")  # the last: a restored photo that curators rejected
REMOVED = "removed"  # of a photo that was taken out for good; its row has no name and no measures
PENDING = "pending"  # of a photo whose file changed since: it has to be restored again
# The row of a removed photo counts before all others. Else the newest row is that of the latest attempt, for clocks of
# machines differ. If an attempt made two, after a worker died, the result counts and not the failure; what became
# pending after an attempt has its number. Rows of earlier versions have nothing but their time.
NEWEST_FIRST = (
    f"status <> '{REMOVED}', coalesce(attempt, 0) DESC, status <> '{PENDING}', "
    "attempt IS NOT NULL AND status = 'failed', finished_at DESC"
)
REQUIRED = ("photo_id", "source", "member", "status", "finished_at")  # never null, and in every version
DECISIONS = ("accept", "reject")
STAGES = ("fetch", "detect", "restore", "compose")  # of a run; seconds_<stage> is the time of a photo in it


def _list(kind: pa.DataType, length: int = -1) -> pa.DataType:
    """A list that keeps its type in Parquet, which names the items "element"."""
    return pa.list_(pa.field("element", kind), length)


BOX = _list(pa.float32(), 4)
LANDMARKS = _list(_list(pa.float32(), 2), 5)

FACE = pa.struct([
    column("face_index", pa.int32(), "place among the photo's faces, by detector score, from 0"),
    column("score", pa.float32(), "the detector's confidence"),
    column("box", BOX, "x0, y0, x1, y1 in the upright photo", "px"),
    column("landmarks", LANDMARKS, "x, y of left eye, right eye, nose, mouth left, mouth right", "px"),
    column("eye_distance", pa.float32(), "distance of the eyes in the photo", "px"),
    column("landmark_error", pa.float32(), "misfit of the landmarks to those of a mean face; null before version 4",
           "eye distance"),
    column("face_share", pa.float32(), "share of skin, eyes, brows, nose and mouth where a face has them, by the "
           "parsing network, 0 to 1; null without weights and before version 5"),
    column("seed", pa.int64(), "seed of the noise of this face"),
    column("one_tone", pa.bool_(), "whether the face has one tone, which it keeps; null before version 5"),
    column("strength", pa.float32(), "share of the restored face in its pixels, 0 to 1; null before version 5: 1"),
    column("accepted", pa.bool_(), "whether a curator accepted this face, or rejected it; null if nobody decided"),
    column("psnr", pa.float32(), "peak signal-to-noise ratio, restored against aligned input", "dB"),
    column("ssim", pa.float32(), "structural similarity, restored against aligned input, at most 1"),
    column("identity_similarity", pa.float32(), "cosine of the identity embeddings; null without weights"),
    column("quality_before", pa.float32(), "no-reference quality of the aligned input; null without weights"),
    column("quality_after", pa.float32(), "no-reference quality of the restored face; null without weights"),
    column("sharpness_before", pa.float32(), "variance of the Laplacian of the aligned input's luma"),
    column("sharpness_after", pa.float32(), "variance of the Laplacian of the restored face's luma"),
    column("delta_e", pa.float32(), "mean colour difference, restored against aligned input", "CIEDE2000"),
    column("needs_review", pa.bool_(), "whether a person should look at this face"),
    column("review_reason", pa.string(), "why; null if needs_review is false"),
])  # fmt: skip

WARNING = pa.struct([
    column("kind", pa.string(), f"one of {', '.join(KINDS)}"),
    column("words", pa.string(), "what it is, in one line"),
])  # fmt: skip

MANIFEST_SCHEMA = pa.schema([
    column("photo_id", pa.string(), "that of the index row, 20 hex digits; a further page adds -p and its number"),
    column("source", pa.string(), "URI of the archive or folder"),
    column("member", pa.string(), "path inside the source; empty for the row of an unreadable archive"),
    column("page", pa.int32(), "page of a TIFF with several pictures, from 1; 1 for all other photos"),
    column("pages", pa.int32(), "pictures in the member; each has its row"),
    column("sha256", pa.string(), "digest of the member's bytes; null if they could not be read"),
    column("bytes", pa.int64(), "size of the member", "byte"),
    column("format", pa.string(), "image format by content: jpeg, png, tiff, webp, ..."),
    column("width", pa.int32(), "width of the upright photo", "px"),
    column("height", pa.int32(), "height of the upright photo", "px"),
    column("bit_depth", pa.int32(), "bits per channel of the source", "bit"),
    column("monochrome", pa.bool_(), "whether the photo as a whole has one tone (grey, sepia)"),
    column("status", pa.string(), f"one of {', '.join(STATUSES)}, {REMOVED}; {PENDING} when the file changed since"),
    column("error_type", pa.string(), "kind of failure or reason to skip; null otherwise"),
    column("error", pa.string(), "the failure in one line, or why the photo was removed; else null"),
    column("stage", pa.string(), "where it failed: index, fetch, detect, restore or publish; null otherwise"),
    column("node", pa.string(), "host name of the machine on which it failed; null otherwise"),
    column("traceback", pa.string(), "end of the traceback of an unexpected error; null otherwise"),
    column("warnings", _list(WARNING), "what was lost of the photo, or is uncertain; null or empty if nothing"),
    column("restored_uri", pa.string(), "where the restored photo is, withdrawn or not; null if there is none"),
    column("restored_sha256", pa.string(), "digest of the restored photo's bytes"),
    column("face_count", pa.int32(), "number of faces restored in this photo, those of strength 0 not counted"),
    column("faces", _list(FACE), "one struct per face; empty if there is none"),
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
    column("reviewed_as", pa.string(), "accept or reject: the decision on the photo that this row follows; else null"),
    column("reviewed_by", pa.string(), "reviewer of the newest decision that this row follows; null if unknown"),
    column("reviewed_at", pa.timestamp("us", tz="UTC"), "time of that decision; null if the row follows none", "UTC"),
    column("attempt", pa.int32(), "number of the attempt that made this row, from 1; null before version 3"),
    column("finished_at", pa.timestamp("us", tz="UTC"), "when this row was made, by its machine's clock", "UTC"),
], metadata={"schema_version": str(SCHEMA_VERSION)})  # fmt: skip

DECISION_SCHEMA = pa.schema([
    column("photo_id", pa.string(), "photo_id of the reviewed photo"),
    column("face_index", pa.int32(), "which of its faces, found by its place; null: the photo as a whole"),
    column("decision", pa.string(), f"{' or '.join(DECISIONS)}; null if there is none, or no more"),
    column("comment", pa.string(), "the curator's words; empty if there are none"),
    column("decided_at", pa.timestamp("us", tz="UTC"), "time; the newest of a photo or face counts", "UTC"),
    column("reviewer", pa.string(), "who decided; null if unknown"),
    column("restored_sha256", pa.string(), "digest of the restored photo that was judged; null in older exports"),
    column("box", BOX, "the face that was judged: x0, y0, x1, y1 in the upright photo", "px"),
    column("strength", pa.float32(), "strength that the reviewer chose for the face, or for all faces; null: none"),
    column("file", pa.string(), "name of the file in OUTPUT/decisions/"),
    column("void", pa.string(), "why the decision does not count any more; null if it counts"),
])  # fmt: skip
# A row of a file of decisions; number: its place in the order of time.
EXPORTED_SCHEMA = pa.schema(
    [*(field for field in DECISION_SCHEMA if field.name != "void"), pa.field("number", pa.int64())]
)
