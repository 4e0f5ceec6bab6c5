"""A model that was never trained gives its input back, and its training starts from there."""

import pytest
import torch

from interlcm.degradation import Degradation, degrade
from interlcm.metrics import psnr
from interlcm.model import InterLCM
from interlcm.pixels import to_pixels
from interlcm.warm_start import start_as_identity
from jobs import samples
from jobs.train import read_preset


@pytest.fixture(scope="module")
def model() -> InterLCM:
    settings = read_preset("demo")
    torch.manual_seed(1)
    model = InterLCM.untrained(settings["model"], settings["image_size"]).eval()
    start_as_identity(model)
    return model


@pytest.fixture(scope="module")
def lq() -> torch.Tensor:
    """(1, 3, 96, 96): a degraded piece of a portrait."""
    face = torch.from_numpy(samples.grace_hopper()[100:196, 200:296].copy()).permute(2, 0, 1)[None]
    return degrade(face / 127.5 - 1, Degradation(), torch.Generator().manual_seed(0))


def test_the_vae_is_the_identity(model: InterLCM, lq: torch.Tensor) -> None:
    with torch.no_grad():
        decoded = model.decode(model.encode(lq))
    assert psnr(to_pixels(decoded)[0], to_pixels(lq)[0]) > 40


@pytest.mark.parametrize("steps", [2, 4])
def test_the_restored_face_is_the_input(model: InterLCM, lq: torch.Tensor, steps: int) -> None:
    restored = model.restore(lq, steps=steps, color_fix="none")
    assert psnr(to_pixels(restored)[0], to_pixels(lq)[0]) > 35


def test_without_the_start_it_is_not(lq: torch.Tensor) -> None:
    settings = read_preset("demo")
    torch.manual_seed(1)
    plain = InterLCM.untrained(settings["model"], settings["image_size"]).eval()
    assert psnr(to_pixels(plain.restore(lq, color_fix="none"))[0], to_pixels(lq)[0]) < 20
