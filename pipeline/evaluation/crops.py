"""Second stage of an evaluation: cut the pictures of a pair into aligned crops, one row for each face."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.config.job import Job
from pipeline.evaluation.pairs import SIDES
from pipeline.evaluation.schema import to_table
from pipeline.faces import alignment
from pipeline.faces.alignment import Matrix
from pipeline.photos import bit_depth
from pipeline.photos.errors import PhotoError
from pipeline.photos.monochrome import is_monochrome_face
from pipeline.photos.view import View, view_of
from pipeline.sandbox import parent as sandbox
from pipeline.stages import row
from pipeline.stages.detect import DetectFaces, face_seed, without_photo
from pipeline.stages.row import Crops, Row

if TYPE_CHECKING:
    from interlcm.degradation import Degradation

ROUNDING = 1.0  # px by which pictures of the same proportions may differ from them


class CutFaces:
    """Actor: decodes both pictures of a pair, finds the faces in the HQ one and cuts the same faces out of both.

    Without an LQ picture it degrades the HQ crop; without an HQ picture it finds the faces in the LQ one.
    """

    def __init__(self, job: Job, degradations: tuple[Degradation, ...]) -> None:
        self.job, self.degradations = job, degradations

    @cached_property
    def find(self) -> DetectFaces:
        """Made at the first call: Ray wraps an error of a constructor in its own traceback."""
        self.job.environment.use()
        return DetectFaces(self.job)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for current in table.to_pylist():
            yield to_table(self.faces(current) if current["status"] is None else [current])

    def faces(self, current: Row) -> list[Row]:
        """The rows of a pair's faces; without faces, one row that has ended."""
        try:
            seen: dict[str, View] = {}
            for side in SIDES:
                if current[side] is not None:
                    try:
                        seen[side] = self.look(current[side])
                    except PhotoError as error:
                        return [unreadable(current, side, error)]
            return self.cut(current, seen) or [row.ended(current, "no_face")]
        except PhotoError as error:
            return [row.ended(current, "failed", error.error_type, str(error))]
        except Exception as error:  # an unforeseen one, of a decoder
            return [row.unforeseen(current, error)]

    def look(self, data: bytes) -> View:
        limits = self.job.settings.limits
        seen = sandbox.run(view_of, data, limits, limits=limits)
        if seen.srgb is None:
            raise PhotoError("many_pages", f"the file holds {len(seen.pages)} pictures; an evaluation takes one")
        return seen

    def cut(self, current: Row, seen: dict[str, View]) -> list[Row]:
        """One row for each face, with its crops and its seed."""
        found = seen.get("hq") or seen["lq"]
        assert found.srgb is not None
        _, aligned, *_ = self.find.located(found.srgb)
        rows = []
        for n, (crop, matrix) in enumerate(aligned):
            seed = face_seed(digest(current), 1, n, self.job.settings.seed)
            hq = bit_depth.eight_bit(crop) if "hq" in seen else None
            if hq is None:
                lq = bit_depth.eight_bit(crop)
            elif "lq" in seen:
                lq = self.same_face(seen["lq"], found, matrix)
            else:
                lq = degraded(hq, self.job.settings.task, self.degradations, seed)
            monochrome = is_monochrome_face(lq, "lq" in seen and seen["lq"].monochrome)
            crops = {"lq_crop": lq.tobytes(), "hq_crop": None if hq is None else hq.tobytes()}
            rows.append(
                {**current, "lq": None, "hq": None, "face_index": n, "seed": seed, "monochrome": monochrome, **crops}
            )
        return rows

    def same_face(self, lq: View, hq: View, matrix: Matrix) -> Crops:
        """Cut the LQ picture, which may have a different size, where `matrix` (2, 3) cuts the HQ picture."""
        assert lq.srgb is not None
        scale = lq.width / hq.width
        if abs(hq.height * scale - lq.height) > ROUNDING:
            sizes = f"LQ is {lq.width} x {lq.height} px, HQ {hq.width} x {hq.height} px"
            raise PhotoError("different_sizes", f"{sizes}: not the same proportions")
        crop = alignment.cut(lq.srgb, alignment.scaled(matrix, scale), self.find.size)
        return bit_depth.eight_bit(np.rint(crop).clip(0, np.iinfo(lq.srgb.dtype).max).astype(lq.srgb.dtype))


def digest(current: Row) -> str:
    """sha256 of the LQ file, from which `restore` seeds its faces, or of the HQ file to degrade."""
    return hashlib.sha256(current["lq"] if current["lq"] is not None else current["hq"]).hexdigest()


def degraded(hq: Crops, task: str, degradations: tuple[Degradation, ...], seed: int) -> Crops:
    """(S, S, 3) uint8: the input of a task, made as in training; the same for the same seed."""
    # Here, because they take seconds to import, and nothing else in this stage needs them.
    import torch

    from interlcm.degradation import lq_for
    from interlcm.pixels import to_pixels, to_tensor

    return to_pixels(lq_for(task, to_tensor(hq), degradations, torch.Generator().manual_seed(seed)))


def unreadable(current: Row, side: str, error: PhotoError) -> Row:
    """The row as `restore` would end it; the error names the picture."""
    ended = without_photo({**current, "data": current[side], "member": current[f"{side}_member"]}, error)
    return {**ended, "error": f"{side.upper()} picture: {ended['error']}"}
