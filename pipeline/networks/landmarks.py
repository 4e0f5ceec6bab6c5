"""98 landmarks of an aligned face, by the adaptive wing loss network that facexlib ships (arXiv 1904.07399).

The step from heat maps to points is done here. facexlib's own, `calculate_points`, uses a removed NumPy function, and
reads the neighbours of a peak at the edge from the other side of the map.
"""

from __future__ import annotations

import torch
from facexlib.alignment.awing_arch import FAN
from torch import Tensor
from torch.nn import functional as F

from interlcm.convert import read_checkpoint
from interlcm.weights_index import Parts, WeightsError

# facexlib's release file (github.com/xinntao/facexlib, release v0.1.0): four hourglasses, trained on WFLW.
LANDMARKS = "metrics/alignment_WFLW_4HG.pth"
HOURGLASSES, POINTS = 4, 98
INPUT_SIZE, MAP_SIZE = 256, 64
# Distances are in pixels of a crop of this size, that of the published weights, whatever the size of the crops.
UNIT_SIZE = 512


class Landmarks:
    """The network, ready on a device. parts: a weights folder with LANDMARKS; WeightsError if that is another file."""

    def __init__(self, parts: Parts, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        network = FAN(num_modules=HOURGLASSES, num_landmarks=POINTS, device=self.device)
        try:
            network.load_state_dict(read_checkpoint(parts, LANDMARKS)["state_dict"])
        except (KeyError, RuntimeError, TypeError) as error:
            file = parts.folder / LANDMARKS
            raise WeightsError(f"{file} does not hold the weights of facexlib's FAN; get it again") from error
        self.network = network.eval().to(self.device)

    @torch.inference_mode()
    def distance(self, face: Tensor, other: Tensor) -> float:
        """Mean distance of the landmarks of two faces (3, S, S) RGB in [-1, 1], px of a 512 x 512 crop, from 0."""
        return float((self.points(face) - self.points(other)).norm(dim=1).mean())

    @torch.inference_mode()
    def points(self, face: Tensor) -> Tensor:
        """(98, 2): x and y in a crop of 512 x 512 px, on the CPU."""
        # facexlib (awing_arch.py, get_landmarks): 256 x 256, bilinear, RGB in [0, 1].
        small = F.interpolate(face[None].to(self.device), (INPUT_SIZE, INPUT_SIZE), mode="bilinear")
        maps, _ = self.network((small.clamp(-1, 1) + 1) / 2)
        return peaks(maps[-1][0, :POINTS].float().cpu()) * (UNIT_SIZE / MAP_SIZE)


def peaks(maps: Tensor) -> Tensor:
    """(K, h, w) heat maps to (K, 2): x and y of the middle of each highest cell, moved a quarter of a cell to its
    higher neighbour (Newell and others 2016, arXiv 1603.06937, section 3.2)."""
    width = maps.shape[2]
    highest = maps.flatten(1).argmax(1)
    x, y = highest % width, highest // width
    edged = F.pad(maps[None], (1, 1, 1, 1), mode="reflect")[0]  # at the edge both neighbours are the same: no move
    k = torch.arange(len(maps))
    dx = (edged[k, y + 1, x + 2] - edged[k, y + 1, x]).sign()
    dy = (edged[k, y + 2, x + 1] - edged[k, y, x + 1]).sign()
    return torch.stack([x + dx / 4, y + dy / 4], 1) + 0.5
