"""Modules from a weights folder (docs/architecture.md has its layout; local folders only).

Bytes are compared with their digest before anything is made of them, tensors are safetensors, and no loader is given
the name of a file or of anything on the network: it gets the bytes that were compared.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, LCMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from interlcm.visual_encoder import VisualEncoder
from interlcm.weights_content import check_keys, check_state, config_in, one_line, quiet_libraries, tensors_in
from interlcm.weights_index import Parts, WeightsError, loose_problems, missing_files, opened, parts_of, unlisted

DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"

# Names of attention weights before diffusers 0.12, which published files still have, and those of its modules.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAME = re.compile(rf"(attentions\.\d+)\.({'|'.join(OLD_NAMES)})\.(weight|bias)")

Module = TypeVar("Module", bound=nn.Module)


def load_components(folder: Path | Parts, variant: str) -> dict[str, Any]:
    """The six modules of one variant, in float32, on the CPU, in evaluation mode.

    Returns:
        unet, vae, spatial_encoder, visual_encoder, clip and scheduler: the arguments of `InterLCM`.
        WeightsError if a part is missing, does not match the index, or lacks its module's keys or has others.
    """
    parts = opened(folder)
    listed = [part["path"] for part in parts_of(parts.index, variant)]
    absent = unlisted(parts.folder, parts.index, [variant]) + missing_files(parts.folder, listed)
    refuse(parts.folder, absent + loose_problems(parts.folder, parts.index))
    with quiet_libraries():
        return {
            **load_lcm(parts),
            "spatial_encoder": load_spatial_encoder(parts, variant),
            "visual_encoder": load_visual_encoder(parts, variant),
        }


def refuse(folder: Path, problems: Sequence[str]) -> None:
    """Raise WeightsError with the first of the problems, if there are any."""
    if problems:
        others = len(problems) - 1
        more = f" (and {others} more: `interlcm weights verify {folder}`)" if others else ""
        raise WeightsError(problems[0] + more)


def load_lcm(parts: Parts) -> dict[str, Any]:
    """The modules that all variants share, as `load_components` has them: unet, vae, clip and scheduler."""
    return {
        "unet": load_diffusers(UNet2DConditionModel, parts, "lcm/unet"),
        "vae": load_diffusers(AutoencoderKL, parts, "lcm/vae"),
        "clip": load_clip(parts),
        "scheduler": load_scheduler(parts),
    }


def load_scheduler(parts: Parts) -> LCMScheduler:
    path = "lcm/scheduler/scheduler_config.json"
    config = read_config(parts, path)
    with one_line(parts.folder / path):
        return LCMScheduler.from_config(config)


def load_diffusers(cls: Any, parts: Parts, part: str) -> Any:
    """A module of diffusers from the folder `part`. diffusers itself can only load by the folder's name."""
    return diffusers_module(
        cls,
        read_config(parts, f"{part}/config.json"),
        parts.read(f"{part}/{DIFFUSERS_FILE}"),
        parts.folder / part / DIFFUSERS_FILE,
    )


def diffusers_module(cls: Any, config: dict[str, Any], data: bytes, file: Path) -> Any:
    """config, data: the content of config.json and of the safetensors file. file: its name in errors."""
    with one_line(file), torch.device("meta"):
        module = cls.from_config(config)
    found = {OLD_NAME.sub(newer, key): tensor for key, tensor in tensors_in(data, file).items()}
    check_state(module, found, file)
    module.load_state_dict(found, assign=True)
    return module.eval()


def newer(match: re.Match[str]) -> str:
    return f"{match[1]}.{OLD_NAMES[match[2]]}.{match[3]}"


def load_clip(parts: Parts) -> CLIPVisionModel:
    """transformers maps the published names (with `vision_model.`) to its own."""
    config, file = read_config(parts, "clip/config.json"), parts.folder / "clip/model.safetensors"
    state = tensors_in(parts.read("clip/model.safetensors"), file)
    with one_line(file):
        module, info = CLIPVisionModel.from_pretrained(
            None,
            config=CLIPVisionConfig.from_dict(config),
            state_dict=state,
            dtype=torch.float32,
            output_loading_info=True,
        )
    check_keys(file, info["missing_keys"], info["unexpected_keys"])
    return module.eval()


def load_spatial_encoder(parts: Parts, variant: str) -> ControlNetModel:
    config = read_config(parts, "spatial_encoder/config.json")
    with one_line(parts.folder / "spatial_encoder/config.json"), torch.device("meta"):
        module = ControlNetModel.from_config(config)
    return fill(module, parts, f"spatial_encoder/{variant}.safetensors")


def load_visual_encoder(parts: Parts, variant: str) -> VisualEncoder:
    config = read_config(parts, "visual_encoder/config.json")
    with one_line(parts.folder / "visual_encoder/config.json"), torch.device("meta"):
        module = VisualEncoder(**config)
    return fill(module, parts, f"visual_encoder/{variant}.safetensors")


def fill(module: Module, parts: Parts, path: str) -> Module:
    """Give a module on the meta device its tensors: at full size it takes long to draw random ones, to be replaced."""
    file = parts.folder / path
    state = tensors_in(parts.read(path), file)
    check_state(module, state, file)
    module.load_state_dict(state, assign=True)
    return module.eval()


def read_config(parts: Parts, path: str) -> dict[str, Any]:
    return config_in(parts.read(path), parts.folder / path)
