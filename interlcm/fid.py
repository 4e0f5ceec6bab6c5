"""Frechet inception distance: how much two sets of faces differ.

Heusel et al. 2017, "GANs trained by a two time-scale update rule", arXiv 1706.08500, equation 6.
"""

from __future__ import annotations

import torch
import torchvision
from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
from torch import Tensor, nn
from torch.nn import functional as F

from interlcm.convert import read_checkpoint
from interlcm.weights_index import Parts, WeightsError

# Blocks of torchvision's Inception v3 that the network of the paper replaces (pytorch-fid, inception.py,
# fid_inception_v3); it was trained in TensorFlow on 1008 classes.
CLASSES = 1008
BLOCKS = {
    "Mixed_5b": (FIDInceptionA, (192, 32)),
    "Mixed_5c": (FIDInceptionA, (256, 64)),
    "Mixed_5d": (FIDInceptionA, (288, 64)),
    "Mixed_6b": (FIDInceptionC, (768, 128)),
    "Mixed_6c": (FIDInceptionC, (768, 160)),
    "Mixed_6d": (FIDInceptionC, (768, 160)),
    "Mixed_6e": (FIDInceptionC, (768, 192)),
    "Mixed_7b": (FIDInceptionE_1, (1280,)),
    "Mixed_7c": (FIDInceptionE_2, (2048,)),
}
INPUT_SIZE = 299


def inception() -> nn.Module:
    """Inception v3 as FID uses it, untrained: (N, 3, 299, 299) in [-1, 1] to logits (N, 1008)."""
    network = torchvision.models.inception_v3(num_classes=CLASSES, aux_logits=False, init_weights=False)
    for name, (block, sizes) in BLOCKS.items():
        setattr(network, name, block(*sizes))
    return network.eval()


def load_inception(parts: Parts, path: str) -> nn.Module:
    """The trained network up to its last pooling: its output is features (N, 2048).

    path: pytorch-fid's pt_inception-2015-12-05-6726825d.pth in a weights folder; WeightsError if it is another file.
    """
    network = inception()
    try:
        network.load_state_dict(read_checkpoint(parts, path))
    except RuntimeError as error:
        raise WeightsError(
            f"{parts.folder / path} does not hold the weights of FID's Inception; get it again"
        ) from error
    network.fc = nn.Identity()
    return network


def inception_features(network: nn.Module, faces: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [-1, 1] to (N, 2048); any size, stretched to 299 x 299."""
    features: Tensor = network(F.interpolate(faces.clamp(-1, 1), (INPUT_SIZE, INPUT_SIZE), mode="bilinear"))
    return features


class Moments:
    """Mean and covariance of features, added batch by batch: no feature is kept. In float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = torch.zeros(0, dtype=torch.float64)
        self._products = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """(N, D), D the same each time."""
        features = features.double()
        if not self.count:
            width = features.shape[1]
            self._sum, self._products = torch.zeros(width).double(), torch.zeros(width, width).double()
        self.count += len(features)
        self._sum += features.sum(0)
        self._products += features.T @ features

    @property
    def mean(self) -> Tensor:
        """(D,)"""
        return self._sum / self.count

    @property
    def covariance(self) -> Tensor:
        """(D, D), unbiased; needs two features or more."""
        return (self._products - self.count * torch.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(one: Moments, other: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians, from 0.

    The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2). That matrix is symmetric,
    so the result is real even for fewer pictures than features, whose covariances have no inverse. Raises ValueError
    for fewer than two features on a side.
    """
    if min(one.count, other.count) < 2:
        raise ValueError(f"a covariance needs two features or more, not {min(one.count, other.count)}")
    root = square_root(one.covariance)
    eigenvalues = torch.linalg.eigvalsh(root @ other.covariance @ root).clamp(min=0)
    traces = one.covariance.trace() + other.covariance.trace() - 2 * eigenvalues.sqrt().sum()
    return float((one.mean - other.mean).square().sum() + traces.clamp(min=0))


def square_root(matrix: Tensor) -> Tensor:
    """The root of a symmetric (D, D) matrix without negative eigenvalues (but for rounding)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
