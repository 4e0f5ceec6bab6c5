"""What curators decided on a photo, as a run follows it when it restores the photo again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class FaceVerdict:
    """How one face is to be shown.

    Attributes:
        box: x0, y0, x1, y1 in the upright photo, px, by which the face is found again.
        strength: share of the restored face in its pixels, 0 to 1.
        accepted: whether it was accepted or rejected; None if nobody decided.
    """

    box: Sequence[float]
    strength: float
    accepted: bool | None


@dataclass(frozen=True)
class Verdict:
    """How one photo is to be shown.

    Attributes:
        withdrawn: whether its restored file is set aside.
        reviewed_as: the decision on the photo as a whole, accept or reject; None if there is none.
        reviewed_by: reviewer of the newest decision; None if unknown.
        reviewed_at: time of the newest decision; None if there is none.
        faces: those of the result that was judged, in its order.
    """

    withdrawn: bool
    reviewed_as: str | None
    reviewed_by: str | None
    reviewed_at: datetime | None
    faces: tuple[FaceVerdict, ...] = ()
