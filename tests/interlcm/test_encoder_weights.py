"""The initial weights of the encoders, and the weights folder that training writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from interlcm import InterLCM, encoder_weights
from interlcm.weights_index import WeightsError, describe, merge_index, read_index, verify, write_index
from tests.support import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.weights_folder(tmp_path / "weights")
    return tmp_path / "weights"


def test_new_encoders_begin_as_the_unet_and_from_the_seed(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model, again, other = (encoder_weights.new_encoders(folder, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)  # the global generator is as it was
    assert tiny.same_weights(model.visual_encoder, again.visual_encoder)
    assert not tiny.same_weights(model.visual_encoder, other.visual_encoder)
    state, unet = model.spatial_encoder.state_dict(), model.unet.state_dict()
    begun = [key for key in state if key.startswith(("conv_in", "down_blocks", "mid_block"))]
    assert len(begun) > 20 and all(torch.equal(state[key], unet[key]) for key in begun)
    assert model.visual_encoder.config["tokens"] == 5  # as the folder's config has it


def test_another_unet_may_be_what_the_spatial_encoder_begins_as(folder: Path, tmp_path: Path) -> None:
    donor = tiny.components(seed=3)["unet"]
    donor.save_pretrained(tmp_path / "donor")
    model = encoder_weights.new_encoders(folder, 0, tmp_path / "donor")
    assert torch.equal(model.spatial_encoder.conv_in.weight, donor.conv_in.weight)
    assert not torch.equal(model.unet.conv_in.weight, donor.conv_in.weight)
    small = UNet2DConditionModel.from_config({**donor.config, "cross_attention_dim": 8})
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(WeightsError, match=r"small: cross_attention_dim is 8, but 32 in the LCM; name a UNet"):
        encoder_weights.new_encoders(folder, 0, tmp_path / "small")


def test_weights_of_another_shape_are_one_line(folder: Path) -> None:
    path = "visual_encoder/3step.safetensors"
    state = load_file(folder / path)
    state["blocks.0.weight"] = torch.zeros(2, 2, 3)
    save_file(state, folder / path)
    entry = describe(folder / path, path, "test", "test", "3step")
    write_index(folder, merge_index(read_index(folder), [entry], {}))
    with pytest.raises(
        WeightsError, match=r"1 key \(blocks.0.weight\) of a different shape \(\(2, 2, 3\), wanted \(32, 5, 3\)\)"
    ) as caught:
        InterLCM.from_pretrained(folder, "3step")
    assert "\n" not in str(caught.value)


def test_saved_variant_keeps_the_shared_parts_and_their_licences(folder: Path, tmp_path: Path) -> None:
    trained = tiny.components(seed=9)
    encoders = {name: trained[name] for name in ("visual_encoder", "spatial_encoder")}
    about = {"task": "restore", "licence": "CC0-1.0", "origin": "here"}
    encoder_weights.save_variant(tmp_path / "new", folder, "mine", encoders, steps=[2, 3], **about)
    assert verify(tmp_path / "new") == []
    index = read_index(tmp_path / "new")
    assert index["variants"] == {"mine": {"steps": [2, 3], "task": "restore"}} and index["image_size"] == 32
    licences = {part["path"]: part["licence"] for part in index["parts"]}
    assert licences["lcm/unet/config.json"] == "test" and licences["visual_encoder/mine.safetensors"] == "CC0-1.0"
    loaded, before = InterLCM.from_pretrained(tmp_path / "new", "mine"), InterLCM.from_pretrained(folder)
    assert tiny.same_weights(loaded.visual_encoder, encoders["visual_encoder"])
    assert tiny.same_weights(loaded.spatial_encoder, encoders["spatial_encoder"])
    assert tiny.same_weights(loaded.unet, before.unet)
