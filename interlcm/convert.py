"""Convert published checkpoints to parts of a weights folder.

Only this module reads pickles, always with weights_only=True. If a digest is known, the bytes are compared with it
first. Before anything is written, the keys and shapes of a checkpoint are compared with those of its module.
"""

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from interlcm.visual_encoder import VisualEncoder
from interlcm.weights_content import check_state, config_in, quiet_libraries
from interlcm.weights_index import (
    ENCODERS,
    INDEX,
    PUBLISHED_VARIANTS,
    Parts,
    WeightsError,
    describe,
    empty_index,
    merge_index,
    read_index,
    write_index,
)
from interlcm.weights_saving import READABLE, tidy_config, write_encoder

CONVERTIBLE = (*ENCODERS, "clip")
LICENCES = {"visual_encoder": "CC-BY-NC-4.0", "spatial_encoder": "CC-BY-NC-4.0", "clip": "MIT"}
# Of the published modules, what differs from the defaults of their classes: the spatial encoder is what
# ControlNetModel.from_unet makes of SD 1.5's UNet, CLIP is ViT-B/16.
PUBLISHED_SIZES: dict[str, dict[str, Any]] = {
    "visual_encoder": {},
    "spatial_encoder": {"cross_attention_dim": 768},
    "clip": {"patch_size": 16},
}
VISION = "vision_model."  # prefix of the vision tower in a checkpoint of the whole CLIP


def convert(checkpoint: Path, folder: Path, part: str, variant: str | None = None, sha256: str | None = None) -> Path:
    """Write a published checkpoint into a local weights folder as safetensors, and list it.

    Args:
        checkpoint: InterLCM's `.pth` (weights under `params_ema`), or CLIP's `pytorch_model.bin`.
        folder: weights folder, created if it does not exist. The part's config.json sets the module's sizes;
            without one they are the published sizes.
        part: visual_encoder, spatial_encoder or clip.
        variant: for an encoder, a published variant (3step, 1step, ...) or one in the folder; None for clip.
        sha256: expected digest of the checkpoint; None if it is not known.

    Returns:
        The safetensors file. WeightsError when the checkpoint cannot be read safely, has another digest or belongs to
        a different module.
    """
    if part not in CONVERTIBLE:
        raise WeightsError(f"{part!r} is not a part that can be converted; choose {', '.join(CONVERTIBLE)}")
    index = read_index(folder) if (folder / INDEX).exists() else empty_index()
    variant = None if part == "clip" else variant
    variants = known_variant(index, variant) if part in ENCODERS else {}
    module = module_for(folder, part)
    data = read_bytes(checkpoint)
    found = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, found):
        raise WeightsError(f"{checkpoint} has sha256 {found}, expected {sha256}; download it again")
    state = read_state(data, checkpoint, part)
    del data
    check_state(module, state, checkpoint)
    (folder / part).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".converting-", dir=folder) as stage:
        config, weights = write_part(module, state, Path(stage), variant)
        if not (folder / part / config.name).exists():
            os.replace(config, folder / part / config.name)
        weights.chmod(READABLE)
        os.replace(weights, folder / part / weights.name)
    paths = {f"{part}/config.json": None, f"{part}/{weights.name}": variant}
    listed = {entry["path"] for entry in index["parts"]} - {f"{part}/{weights.name}"}
    origin = f"converted from {checkpoint.name}, sha256 {found}"
    parts = [
        describe(folder / path, path, LICENCES[part], origin, user)
        for path, user in paths.items()
        if path not in listed
    ]
    write_index(folder, merge_index(index, parts, variants))
    return folder / part / weights.name


def known_variant(index: Mapping[str, Any], variant: str | None) -> dict[str, Any]:
    """The index entry of `variant`: the folder's own, else the published one."""
    known = {**PUBLISHED_VARIANTS, **index["variants"]}
    if variant is None or variant not in known:
        raise WeightsError(f"{variant!r} is not a variant of InterLCM; choose {', '.join(known)}")
    return {variant: known[variant]}


def read_bytes(checkpoint: Path) -> bytes:
    try:
        return checkpoint.read_bytes()
    except OSError as error:
        raise WeightsError(f"{checkpoint} cannot be read ({error.strerror}); name a .pth file") from error


def read_state(data: bytes, checkpoint: Path, part: str) -> dict[str, Tensor]:
    """The tensors of a published checkpoint, under the names of its module."""
    payload = tensors_of(data, checkpoint)
    state = vision_tower(payload) if part == "clip" else averaged(payload, checkpoint)
    if not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{checkpoint} holds more than tensors, so it is not a published checkpoint")
    return state


def vision_tower(payload: dict[str, Any]) -> dict[str, Tensor]:
    # `position_ids` was a stored buffer in old versions of transformers; it is computed now.
    keys = [key for key in payload if key.startswith(VISION) and not key.endswith(".position_ids")]
    return {key.removeprefix(VISION): payload[key] for key in keys}


def averaged(payload: dict[str, Any], checkpoint: Path) -> dict[str, Tensor]:
    """The moving average of the weights, `params_ema`, as InterLCM publishes it."""
    if not isinstance(payload.get("params_ema"), dict):
        keys = ", ".join(str(key) for key in list(payload)[:3])
        raise WeightsError(f"{checkpoint} has no params_ema (it has {keys}); it is not a checkpoint of InterLCM")
    state = payload["params_ema"]
    # Distributed training puts the wrapper's name before every key.
    wrapped = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module."): tensor for key, tensor in state.items()} if wrapped else state


def read_checkpoint(parts: Parts, path: str) -> dict[str, Any]:
    """The content of a listed checkpoint. WeightsError if it differs from its listing or is refused."""
    return tensors_of(parts.read(path), parts.folder / path)


def tensors_of(data: bytes, checkpoint: Path) -> dict[str, Any]:
    """torch.load without running code from the bytes; WeightsError, in one line, if it refuses them.

    checkpoint: the name of their file, for the error.
    """
    try:
        payload = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it is damaged, or holds objects that could run code"
        raise WeightsError(f"{checkpoint} is refused: {reason}; get it from its official source") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{checkpoint} is not a PyTorch checkpoint, or is truncated; download it again") from error
    if not isinstance(payload, dict):
        raise WeightsError(f"{checkpoint} holds no table of tensors, so it is not a published checkpoint")
    return payload


def module_for(folder: Path, part: str) -> nn.Module:
    """The module of a part, without storage; sizes from its config.json, else the published ones."""
    file = folder / part / "config.json"
    try:
        config = config_in(file.read_bytes(), file) if file.exists() else None
        with torch.device("meta"):
            return build(part, config)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{file} is not the config of a {part} ({error}); remove it") from error


def build(part: str, config: dict[str, Any] | None) -> Any:
    sizes = config or PUBLISHED_SIZES[part]
    if part == "visual_encoder":
        return VisualEncoder(**sizes)
    if part == "spatial_encoder":
        return ControlNetModel.from_config(sizes)
    return CLIPVisionModel(CLIPVisionConfig(**sizes))


def write_part(module: Any, state: dict[str, Tensor], stage: Path, variant: str | None) -> tuple[Path, Path]:
    """Write config and safetensors of one part into `stage`; an encoder's file is named after its variant."""
    if isinstance(module, CLIPVisionModel):
        module.load_state_dict(state, assign=True)
        with quiet_libraries():
            module.save_pretrained(stage)
    else:
        write_encoder(stage, str(variant), module, state)
    tidy_config(stage / "config.json")
    return stage / "config.json", next(stage.glob("*.safetensors"))
