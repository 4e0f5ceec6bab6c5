"""The number of calls for a restoration, on any machine: each network runs only as often as needed, for all faces."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from interlcm import InterLCM
from tests.support import tiny

# The operators of networks, without those that draw the noise face by face.
OPERATORS = (
    "aten::convolution",
    "aten::addmm",
    "aten::bmm",
    "aten::scaled_dot_product_attention",
    "aten::native_group_norm",
)
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel")


def counted(model: InterLCM, faces: int, steps: int) -> Counter[str]:
    """Name of an operator, or of a call that launches a kernel -> how often it was called."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        model.restore(tiny.faces(faces).to(model.device), steps)
    return Counter({event.key: event.count for event in profiler.key_averages()})


@pytest.fixture(scope="module")
def model() -> InterLCM:
    return tiny.model()


def test_networks_run_for_all_faces_together(model: InterLCM) -> None:
    one, three = counted(model, 1, 4), counted(model, 3, 4)
    assert one["aten::convolution"] > 50
    assert [three[name] for name in OPERATORS] == [one[name] for name in OPERATORS]


def test_a_step_costs_its_own_operators_alone(model: InterLCM) -> None:
    """Values that do not change between steps (image tokens, the embedding of the crop) are computed once."""
    two, three, four = (counted(model, 1, steps)["aten::convolution"] for steps in (2, 3, 4))
    assert four - three == three - two
    embedding = sum(
        isinstance(part, torch.nn.Conv2d) for part in model.spatial_encoder.controlnet_cond_embedding.modules()
    )
    networks = [model.unet, model.spatial_encoder]
    convolutions = sum(isinstance(part, torch.nn.Conv2d) for network in networks for part in network.modules())
    assert three - two == convolutions - embedding


@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts kernels, which take a GPU")
def test_kernels_are_launched_for_all_faces_together() -> None:
    model = tiny.model().to("cuda")
    counted(model, 1, 4)  # the first call looks for algorithms
    one, eight = (sum(counted(model, faces, 4)[name] for name in LAUNCHES) for faces in (1, 8))
    assert 0 < eight < 1.2 * one
