"""LPIPS against the package of its authors, on the same weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import lpips
import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional as F

from interlcm.perceptual import HEADS, TRUNK, Perceptual
from interlcm.weights_index import WeightsError
from tests.support.networks import write_perceptual_network
from tests.support.parts import listed

ASTRONAUT = torch.from_numpy(skimage.data.astronaut()[32:128, 176:272].copy()).permute(2, 0, 1)[None] / 127.5 - 1
COFFEE = torch.from_numpy(skimage.data.coffee()[32:128, 176:272].copy()).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("perceptual")
    write_perceptual_network(folder)
    return folder


@pytest.fixture(scope="module")
def ours(weights: Path) -> Perceptual:
    return Perceptual.load(listed(weights))


@pytest.fixture(scope="module")
def theirs(weights: Path) -> lpips.LPIPS:
    """The authors' network. It would download its trunk, so it gets the trunk in the file instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in a way that is deprecated
        network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    trunk = torch.load(weights / TRUNK, weights_only=True)
    renamed = {
        name: trunk[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()
    }  # slice1.0.weight, ...
    network.net.load_state_dict(renamed)
    network.load_state_dict(torch.load(weights / HEADS, weights_only=True), strict=False)
    return network.eval()


def degraded(picture: Tensor, factor: int) -> Tensor:
    small = F.interpolate(picture, scale_factor=1 / factor, mode="area")
    return F.interpolate(small, size=picture.shape[-1], mode="bilinear")


@pytest.mark.parametrize("factor", [2, 8])
def test_same_distance_as_the_authors_package(ours: Perceptual, theirs: lpips.LPIPS, factor: int) -> None:
    pictures, references = torch.cat([degraded(ASTRONAUT, factor), COFFEE]), torch.cat([ASTRONAUT, ASTRONAUT])
    with torch.no_grad():
        found, expected = ours(pictures, references), theirs(pictures, references).flatten()
    assert found.shape == (2,) and 0.02 < found[0] < found[1]
    assert torch.allclose(found, expected, atol=1e-4)


def test_equal_pictures_have_no_distance(ours: Perceptual) -> None:
    assert float(ours(ASTRONAUT, ASTRONAUT)) == 0


def test_gradient_reaches_the_picture_and_no_weight(ours: Perceptual) -> None:
    # Black squares have features of zero, where a root has no gradient.
    picture = torch.full((1, 3, 64, 64), -1.0, requires_grad=True)
    ours(picture, ASTRONAUT[..., :64, :64]).sum().backward()
    assert picture.grad is not None and picture.grad.isfinite().all() and picture.grad.abs().max() > 0
    assert all(p.grad is None for p in ours.parameters())


def test_missing_and_other_files_are_one_line(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth is missing; get it with `interlcm weights pull"):
        Perceptual.load(listed(tmp_path))
    (tmp_path / "metrics").mkdir()
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / TRUNK)
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth lacks 25 keys"):
        Perceptual.load(listed(tmp_path))
