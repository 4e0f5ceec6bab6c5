"""Published checkpoints become safetensors that load; others are refused in one line, and run no code."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file

from interlcm.convert import build, convert
from interlcm.visual_encoder import VisualEncoder
from interlcm.weights import load_components
from interlcm.weights_index import WeightsError, file_sha256, read_index, verify
from tests.support import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.weights_folder(tmp_path / "weights")
    return tmp_path / "weights"


def published(path: Path, module: torch.nn.Module, prefix: str = "") -> Path:
    """A checkpoint as InterLCM publishes it."""
    state = {f"{prefix}{key}": tensor for key, tensor in module.state_dict().items()}
    torch.save({"params_ema": state}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_encoders_become_a_variant_that_loads(folder: Path, tmp_path: Path, prefix: str) -> None:
    other = tiny.components(seed=1)
    for part in ("visual_encoder", "spatial_encoder"):
        file = published(tmp_path / f"{part}_1step.pth", other[part], prefix)
        assert convert(file, folder, part, "1step") == folder / part / "1step.safetensors"
    loaded = load_components(folder, "1step")
    assert tiny.same_weights(loaded["visual_encoder"], other["visual_encoder"])
    assert tiny.same_weights(loaded["spatial_encoder"], other["spatial_encoder"])
    assert read_index(folder)["variants"]["1step"] == {"steps": [2], "task": "restore"}
    assert verify(folder) == []


def test_index_states_licence_and_origin(folder: Path, tmp_path: Path) -> None:
    file = published(tmp_path / "mine.pth", tiny.components(seed=1)["visual_encoder"])
    convert(file, folder, "visual_encoder", "1step")
    (part,) = [p for p in read_index(folder)["parts"] if p["path"] == "visual_encoder/1step.safetensors"]
    assert part["licence"] == "CC-BY-NC-4.0" and part["variant"] == "1step"
    assert part["origin"] == f"converted from mine.pth, sha256 {file_sha256(file)}"


def test_new_folder_gets_the_published_sizes(tmp_path: Path) -> None:
    encoder = VisualEncoder()
    written = convert(published(tmp_path / "v.pth", encoder), tmp_path / "new", "visual_encoder", "3step")
    assert load_file(written).keys() == encoder.state_dict().keys()
    assert {part["path"] for part in read_index(tmp_path / "new")["parts"]} == {
        "visual_encoder/3step.safetensors",
        "visual_encoder/config.json",
    }


def test_published_spatial_encoder_is_the_controlnet_of_stable_diffusion() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64)
        controlnet = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        ours = build("spatial_encoder", None)
    shapes = {key: tensor.shape for key, tensor in controlnet.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == shapes


def test_vision_tower_of_a_whole_clip(folder: Path, tmp_path: Path) -> None:
    clip = tiny.components(seed=1)["clip"]
    state = {f"vision_model.{key}": tensor for key, tensor in clip.state_dict().items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(5)
    torch.save({**state, "text_model.final_layer_norm.bias": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    convert(tmp_path / "pytorch_model.bin", folder, "clip")
    assert tiny.same_weights(load_components(folder, "3step")["clip"], clip)
    assert verify(folder) == []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB_TARGET"],)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOMB_TARGET", str(tmp_path / "exploded"))
    torch.save({"params_ema": {"a": Bomb()}}, tmp_path / "bomb.pth")
    with pytest.raises(WeightsError, match=r"bomb\.pth is refused: .*run code") as caught:
        convert(tmp_path / "bomb.pth", folder, "visual_encoder", "1step")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_wrong_checkpoints_are_one_line_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    whole = published(tmp_path / "whole.pth", tiny.components()["visual_encoder"]).read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("not found")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"params_ema": {"a": 1}}, tmp_path / "number.pth")
    published(tmp_path / "foreign.pth", tiny.components()["vae"])
    published(tmp_path / "large.pth", VisualEncoder())
    before = shutil.copytree(folder, tmp_path / "before")
    for name, words in {
        "none.pth": "cannot be read",
        "short.pth": "truncated|refused",
        "empty.pth": "truncated|refused",
        "text.pth": "refused",
        "other.pth": "has no params_ema",
        "list.pth": "no table of tensors",
        "number.pth": "more than tensors",
        "foreign.pth": r"lacks \d+ keys .* unexpected keys",
        "large.pth": "lacks|of a different shape",
    }.items():
        with pytest.raises(WeightsError, match=words) as caught:
            convert(tmp_path / name, folder, "visual_encoder", "1step")
        assert name in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(p.name for p in folder.rglob("*")) == sorted(p.name for p in Path(before).rglob("*"))
    assert read_index(folder) == read_index(Path(before))


def test_unknown_variant_and_part_name_the_choices(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="choose 3step, 1step, colorization_1step, inpainting_1step"):
        convert(tmp_path / "v.pth", folder, "visual_encoder", "2step")
    with pytest.raises(WeightsError, match="choose visual_encoder, spatial_encoder, clip"):
        convert(tmp_path / "v.pth", folder, "unet", "3step")
