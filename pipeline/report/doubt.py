"""How doubtful a photo is, beside the others of its run: the order in which a reviewer meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.report.columns import Columns, Numbers

# Measures of a face that say how well it was restored -> whether a low value is the worse one.
WORSE_IF_LOW = {"identity_similarity": True, "psnr": True, "ssim": True, "delta_e": False, "score": True}


def doubt(columns: Columns) -> Numbers:
    """A number per photo, 0 to 2: the higher, the sooner a person should look. NaN for a photo without faces.

    The doubt of a face is the share of the run's faces that do better in its worst measure, plus 1 if it needs review.
    A photo is as doubtful as its most doubtful face.
    """
    face = columns.face
    shares = [better(face[name] if low else -face[name]) for name, low in WORSE_IF_LOW.items()]
    worst = np.max(shares, axis=0, initial=0.0) + np.nan_to_num(face["needs_review"])
    count = columns.photo["face_count"].astype(np.int64)
    of_photo = np.full(len(count), np.nan)
    some = count > 0
    if some.any():
        starts = np.cumsum(count) - count
        of_photo[some] = np.maximum.reduceat(worst, starts[some])
    return of_photo


def better(values: Numbers) -> Numbers:
    """For each value the share of the values that are higher, 0 to 1; 0 for a missing one."""
    known = np.sort(values[np.isfinite(values)])
    higher = len(known) - np.searchsorted(known, values, side="right")
    return np.where(np.isfinite(values), higher / max(len(known), 1), 0.0)
