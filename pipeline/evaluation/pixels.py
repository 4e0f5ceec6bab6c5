"""Fourth stage of an evaluation: the metrics of pixels. Its workers load no network, so this module imports none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.evaluation.schema import to_table
from pipeline.stages import row
from pipeline.stages.row import Crops, Row
from pipeline.stages.score import compared

COLUMNS = ("lq", "restored", "hq")  # of the grid, and of a row's features


def compare(table: pa.Table) -> pa.Table:
    """Measure restored crops, with the code that scores the faces of a run."""
    return to_table(
        current if current["status"] else row.guarded(current, compare_pixels) for current in table.to_pylist()
    )


def compare_pixels(current: Row) -> Row:
    crops = crops_of(current)
    for name in ("lq", "restored"):
        if "hq" in crops:
            measures = compared(crops[name], crops["hq"])
            current |= {f"{metric}_{name}": value for metric, value in measures.items()}
    return {**current, "status": "measured"}


def crops_of(current: Row) -> dict[str, Crops]:
    """The crops that a row has, in the order of COLUMNS."""
    return {name: crop_of(current, name) for name in COLUMNS if current[f"{name}_crop"] is not None}


def crop_of(current: Row, name: str) -> Crops:
    """(S, S, 3) uint8."""
    flat = np.frombuffer(current[f"{name}_crop"], np.uint8)
    side = round((flat.size / 3) ** 0.5)
    return flat.reshape(side, side, 3)
