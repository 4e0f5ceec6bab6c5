"""The metrics of an evaluation, the columns of its Parquet file, and the row between its stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.index.schema import column
from pipeline.stages.row import Row


@dataclass(frozen=True)
class Metric:
    """One number for a face.

    Attributes:
        name: name of its columns, to which `_lq` (the input) or `_restored` is added.
        title: its name in the table.
        meaning: text for the documentation.
        unit: unit of the number.
        higher: whether more is better.
        paired: whether it is a comparison with the HQ face.
    """

    name: str
    title: str
    meaning: str
    unit: str = ""
    higher: bool = True
    paired: bool = True


# In the order of the table: comparisons with the HQ face by pixels, perception and identity, then the others.
METRICS = (
    Metric("psnr", "PSNR", "peak signal-to-noise ratio to the HQ face; null if they are equal", "dB"),
    Metric("ssim", "SSIM", "structural similarity to the HQ face"),
    Metric("delta_e", "dE00", "mean colour difference to the HQ face", "CIEDE2000", higher=False),
    Metric("lpips", "LPIPS", "perceptual distance to the HQ face", higher=False),
    Metric("identity_similarity", "identity", "cosine of the ArcFace embeddings of this and the HQ face"),
    Metric("landmark_distance", "landmarks", "mean distance of 98 landmarks to those of the HQ face", "px", False),
    Metric("quality", "HyperIQA", "no-reference quality by HyperIQA", paired=False),
    Metric("musiq", "MUSIQ", "no-reference quality by MUSIQ", paired=False),
)
SUFFIXES = {"_lq": "of the input", "_restored": "of the restored face"}
STATUSES = ("measured", "no_face", "skipped", "failed")


EVALUATION_SCHEMA = pa.schema([
    column("lq_source", pa.string(), "URI of the archive or folder of the LQ picture; null if it was made from HQ"),
    column("lq_member", pa.string(), "its path inside the source"),
    column("hq_source", pa.string(), "URI of the archive or folder of the HQ picture; null if there is none"),
    column("hq_member", pa.string(), "its path inside the source"),
    column("face_index", pa.int32(), "place among the picture's faces, by detector score, from 0; null without face"),
    column("status", pa.string(), f"one of {', '.join(STATUSES)}"),
    column("error_type", pa.string(), "kind of failure or reason to skip; null otherwise"),
    column("error", pa.string(), "the failure in one line; null otherwise"),
    column("seed", pa.int64(), "seed of the noise of this face, and of its degradation"),
    *(
        column(f"{metric.name}{suffix}", pa.float32(), f"{metric.meaning}; {words}", metric.unit)
        for metric in METRICS
        for suffix, words in SUFFIXES.items()
    ),
    column("weights_digest", pa.string(), "sha256 over the parts of the model"),
    column("software_version", pa.string(), "version of interlcm"),
    column("settings", pa.string(), "settings, degradation and weights of the metrics, as JSON"),
])  # fmt: skip

# Further columns between the stages: dropped once a row has a status.
ON_THE_WAY = pa.schema(
    [
        ("lq", pa.large_binary()),  # the file's bytes
        ("hq", pa.large_binary()),
        ("lq_crop", pa.large_binary()),  # (S, S, 3) uint8 sRGB
        ("hq_crop", pa.large_binary()),
        ("restored_crop", pa.large_binary()),
        ("monochrome", pa.bool_()),
    ]
)
# Columns that a finished row takes to the driver only.
FOR_THE_SET = pa.schema(
    [
        ("pair", pa.int32()),
        ("shown", pa.bool_()),  # in the grid
        ("features", pa.list_(pa.list_(pa.float32()))),  # (2 or 3, 2048): LQ, restored, HQ
        ("picture", pa.large_binary()),  # LQ, restored, HQ side by side, as a PNG
    ]
)
SCHEMA = pa.schema([*EVALUATION_SCHEMA, *ON_THE_WAY, *FOR_THE_SET])
NOTHING_MORE = dict.fromkeys(ON_THE_WAY.names)


def to_table(rows: Iterable[Row]) -> pa.Table:
    """The rows of a stage, without what later stages do not need of rows that have ended."""
    return pa.Table.from_pylist([{**row, **NOTHING_MORE} if row["status"] else row for row in rows], schema=SCHEMA)
