"""A micro-batch of restored faces on its way from the device to the host, which prepares the next one meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlcm.device import Download, upload
from interlcm.pixels import to_levels
from pipeline.networks.facexlib import Opinions, Packed
from pipeline.stages.row import Crops


@dataclass(frozen=True)
class RestoredFace:
    """A restored crop (S, S, 3), its parsing mask (S, S) or None, and the measures of the networks that are there."""

    crop: Crops
    mask: npt.NDArray[np.uint8] | None
    measures: dict[str, float]


@dataclass(frozen=True)
class InFlight:
    """The faces of a micro-batch, as the device makes them; holds memory of the host alone.

    Attributes:
        types: of each face; the places after these are padding.
        levels: for each type, all places of the micro-batch (M, S, S, 3) as its levels.
        opinions: of the networks that judge.
        places: size of the micro-batch.
        begun: time (s) when the host began to prepare the micro-batch.
    """

    types: list[np.dtype]
    levels: dict[np.dtype, Download]
    opinions: Packed
    places: int
    begun: float

    @staticmethod
    def of(made: Tensor, types: Sequence[np.dtype], opinions: Opinions, begun: float) -> InFlight:
        """Start to copy faces (M, 3, S, S), about [-1, 1], and what the networks say of them; waits for nothing."""
        levels = {kind: Download(to_levels(made, kind)) for kind in set(types)}
        return InFlight(list(types), levels, opinions.sent(), len(made), begun)

    def land(self) -> list[RestoredFace]:
        """The faces, once the device has made and copied them."""
        levels = {kind: whole.numpy().astype(kind, copy=False) for kind, whole in self.levels.items()}
        masks, measures = self.opinions.read()
        return [
            RestoredFace(levels[kind][n], None if masks is None else masks[n], measures[n] if measures else {})
            for n, kind in enumerate(self.types)
        ]


def as_written(made: Tensor, types: Sequence[np.dtype]) -> Tensor:
    """The faces (N, 3, S, S) as the files will have them: in [-1, 1], in steps of their type."""
    steps = [np.iinfo(kind).max / 2 for kind in types]
    if len(set(types)) == 1:
        return ((made.clamp(-1, 1) + 1) * steps[0]).round() / steps[0] - 1
    half = upload(torch.tensor(steps), made.device)[:, None, None, None]
    return ((made.clamp(-1, 1) + 1) * half).round() / half - 1
