"""Networks that only an evaluation needs, each used when its weights are in the weights folder."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from interlcm.convert import read_checkpoint
from interlcm.fid import inception_features, load_inception
from interlcm.perceptual import HEADS, TRUNK, Perceptual
from interlcm.weights_index import Parts, WeightsError
from pipeline.networks.files import ASSESSOR, RECOGNISER
from pipeline.networks.landmarks import LANDMARKS, Landmarks

INCEPTION = "metrics/pt_inception-2015-12-05-6726825d.pth"  # of mseitzer/pytorch-fid, release fid_weights
MUSIQ = "metrics/musiq_koniq_ckpt-e95806b9.pth"  # of chaofengc/IQA-PyTorch-Weights, for the extra "musiq"
# Names of the metrics that need a network, and their files in a weights folder.
FILES = {
    "lpips": (TRUNK, HEADS),
    "identity_similarity": (RECOGNISER,),
    "landmark_distance": (LANDMARKS,),
    "fid": (INCEPTION,),
    "quality": (ASSESSOR,),
    "musiq": (MUSIQ,),
}


def missing(parts: Parts) -> dict[str, str]:
    """The metrics of FILES that a weights folder cannot provide, each with what is missing."""
    lacking = {}
    for name, files in FILES.items():
        absent = [file for file in files if file not in parts]
        if absent:
            lacking[name] = absent[0]
        elif name == "musiq" and find_spec("pyiqa") is None:
            lacking[name] = "the package pyiqa"
    return lacking


def check_metrics(parts: Parts) -> None:
    """WeightsError if a metric's file is not as the folder's model_index.json has it."""
    for path in (path for paths in FILES.values() for path in paths):
        if path in parts:
            parts.read(path)
        elif (parts.folder / path).is_file():
            remedy = "list it with `interlcm weights pull --metrics`"
            raise WeightsError(f"{parts.folder / path} is not listed in model_index.json; remove it, or {remedy}")


class Networks:
    """The networks of a weights folder; a metric whose network has no weights is None.

    Faces are (3, S, S) RGB in [-1, 1]; any S. WeightsError for a file that does not hold its network's weights.
    """

    def __init__(self, parts: Parts, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        lacking = missing(parts)
        self._lpips = self._landmarks = self._inception = self._musiq = None
        if "lpips" not in lacking:
            self._lpips = Perceptual.load(parts).to(self.device)
        if "landmark_distance" not in lacking:
            self._landmarks = Landmarks(parts, self.device)
        if "fid" not in lacking:
            self._inception = load_inception(parts, INCEPTION).to(self.device)
        if "musiq" not in lacking:
            self._musiq = load_musiq(parts).to(self.device)

    @torch.inference_mode()
    def compared(self, face: Tensor, reference: Tensor) -> dict[str, float | None]:
        """LPIPS and landmark distance of two faces."""
        one, other = face[None].clamp(-1, 1).to(self.device), reference[None].clamp(-1, 1).to(self.device)
        return {
            "lpips": None if self._lpips is None else float(self._lpips(one, other)),
            "landmark_distance": None if self._landmarks is None else self._landmarks.distance(face, reference),
        }

    @torch.inference_mode()
    def musiq(self, face: Tensor) -> float | None:
        """No-reference quality by MUSIQ (ICCV 2021) trained on KonIQ-10k: about 0 to 100, higher is better."""
        if self._musiq is None:
            return None
        return float(self._musiq((face[None].clamp(-1, 1).to(self.device) + 1) / 2))

    @torch.inference_mode()
    def features(self, face: Tensor) -> Tensor | None:
        """(2048,) for FID, on the CPU."""
        if self._inception is None:
            return None
        return inception_features(self._inception, face[None].to(self.device))[0].cpu()


def load_musiq(parts: Parts) -> nn.Module:
    """pyiqa's network from a weights folder. Its own loader would run code from the file, and download."""
    from pyiqa.archs.musiq_arch import MUSIQ as Architecture  # noqa: N811

    network: Any = Architecture(pretrained=False)
    try:
        network.load_state_dict(read_checkpoint(parts, MUSIQ))
    except RuntimeError as error:
        raise WeightsError(f"{parts.folder / MUSIQ} does not hold the weights of MUSIQ; get it again") from error
    return network.eval()
