"""Third stage of an evaluation: restore crops and measure them with networks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from torch import Tensor

from interlcm.weights_index import Parts
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.evaluation.networks import Networks
from pipeline.evaluation.pixels import COLUMNS, crop_of, crops_of
from pipeline.evaluation.schema import to_table
from pipeline.networks.facexlib import FaceNetworks
from pipeline.stages import row
from pipeline.stages.in_flight import RestoredFace
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Crops, Row
from pipeline.weights.local import weights_folder


class MeasureFaces:
    """Actor: restores LQ crops and measures them and their HQ crops. Holds all networks for this.

    metric_weights, index: URI of the weights folder with the metrics' networks, and its index as the driver read it.
    """

    def __init__(self, job: Job, resources: Resources, metric_weights: str, index: dict[str, Any]) -> None:
        self.job, self.resources, self.metric_weights, self.index = job, resources, metric_weights, index

    # The networks are loaded at the first call: Ray wraps an error of a constructor in its own traceback.

    @cached_property
    def restorer(self) -> RestoreFaces:
        return RestoreFaces(self.job, self.resources, judged=False)

    @cached_property
    def parts(self) -> Parts:
        return Parts(weights_folder(self.metric_weights), self.index)

    @cached_property
    def judge(self) -> FaceNetworks:
        return FaceNetworks(self.parts, self.restorer.device)

    @cached_property
    def networks(self) -> Networks:
        return Networks(self.parts, self.restorer.device)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        waiting = [current for current in rows if current["status"] is None]
        restored = self.restorer.restore(
            [crop_of(current, "lq") for current in waiting],
            [current["seed"] for current in waiting],
            [current["monochrome"] for current in waiting],
        )
        return to_table(
            current if current["status"] else row.guarded(current, partial(self.measured, restored=next(restored)))
            for current in rows
        )

    def measured(self, current: Row, restored: RestoredFace | None) -> Row:
        """The row with the restored crop and the metrics from networks."""
        if restored is None:
            words = "not enough memory to restore one face at a time; use a larger GPU, or --gpus-per-actor 1"
            return row.ended(current, "failed", "out_of_memory", words)
        current = {**current, "restored_crop": restored.crop.tobytes()}
        faces = {name: self.restorer.tensor(crop) for name, crop in crops_of(current).items()}
        features = [self.networks.features(faces[name]) for name in COLUMNS if name in faces]
        return {
            **current,
            **self.judged(faces),
            "features": None if features[0] is None else [one.tolist() for one in features if one is not None],
            "picture": png(list(crops_of(current).values())) if current["shown"] else None,
        }

    def judged(self, faces: dict[str, Tensor]) -> Row:
        """The columns of the metrics that need networks."""
        found: Row = {}
        for name in ("lq", "restored"):
            face = faces[name]
            found[f"quality_{name}"] = only(self.judge.quality(face[None]))
            found[f"musiq_{name}"] = self.networks.musiq(face)
            if "hq" in faces:
                measures = self.networks.compared(face, faces["hq"])
                measures["identity_similarity"] = only(self.judge.identity(face[None], faces["hq"][None]))
                found |= {f"{metric}_{name}": value for metric, value in measures.items()}
        return found


def only(values: Sequence[float] | None) -> float | None:
    return None if values is None else values[0]


def png(crops: Sequence[Crops]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.concatenate(crops, axis=1)).save(sink, "PNG")
    return sink.getvalue()
