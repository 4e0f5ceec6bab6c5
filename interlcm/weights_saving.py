"""Modules to a weights folder: a variant is written whole, then listed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import ConfigMixin
from safetensors.torch import save_file

from interlcm.weights_content import quiet_libraries
from interlcm.weights_index import (
    ENCODERS,
    INDEX,
    SHARED,
    WeightsError,
    describe,
    empty_index,
    encoder_paths,
    merge_index,
    read_index,
    write_index,
)

# safetensors makes files that only their owner can read, but the users of a cluster share weights.
READABLE = 0o644


def save_components(
    folder: Path,
    variant: str,
    components: Mapping[str, Any],
    *,
    image_size: int = 512,
    steps: Sequence[int] = (2, 3, 4),
    task: str = "restore",
    licence: str = "unknown",
    origin: str = "unknown",
) -> None:
    """Write one variant into a weights folder and list it; tensors keep their dtype.

    Args:
        folder: new, or a weights folder that holds the variant already or has the same shared parts.
        variant: name of the files in visual_encoder/ and spatial_encoder/.
        components: what `load_components` returns.
        image_size: side of the crops the weights were trained on, px.
        steps: step counts that the variant supports, the first step included.
        task: restore, colorize or inpaint.
        licence, origin: of these weights, for the index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = read_index(folder) if (folder / INDEX).exists() else empty_index()
    index["image_size"] = image_size
    with TemporaryDirectory(prefix=".saving-", dir=folder) as stage:
        write_components(Path(stage), variant, components)
        parts = [
            describe(Path(stage) / path, path, licence, origin, None if path in SHARED else variant)
            for path in (*SHARED, *encoder_paths(variant))
        ]
        refuse_shared_change(folder, index, variant, parts)
        for part in parts:
            (folder / part["path"]).parent.mkdir(parents=True, exist_ok=True)
            (Path(stage) / part["path"]).chmod(READABLE)
            os.replace(Path(stage) / part["path"], folder / part["path"])
    write_index(folder, merge_index(index, parts, {variant: {"steps": list(steps), "task": task}}))


def write_components(folder: Path, variant: str, components: Mapping[str, Any]) -> None:
    with quiet_libraries():
        for name in ("unet", "vae", "scheduler"):
            components[name].save_pretrained(folder / "lcm" / name)
        components["clip"].save_pretrained(folder / "clip")
    for encoder in ENCODERS:
        (folder / encoder).mkdir()
        write_encoder(folder / encoder, variant, components[encoder], components[encoder].state_dict())
    for config in folder.rglob("*config.json"):
        tidy_config(config)


def write_encoder(folder: Path, variant: str, module: Any, state: Mapping[str, torch.Tensor]) -> None:
    """config.json of a visual or spatial encoder, and `state` as the weights of one variant."""
    config = module.to_json_string() if isinstance(module, ConfigMixin) else json.dumps(module.config)
    (folder / "config.json").write_text(config)
    tensors = {key: tensor.contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / f"{variant}.safetensors", metadata={"format": "pt"})


def tidy_config(config: Path) -> None:
    """Drop the path a module was loaded from: it differs between machines and does not describe the module."""
    settings = json.loads(config.read_bytes())
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def refuse_shared_change(folder: Path, index: dict[str, Any], variant: str, parts: list[dict[str, Any]]) -> None:
    """WeightsError when other variants of the folder would lose the shared parts they were trained with."""
    others = [name for name in index["variants"] if name != variant]
    before = {part["path"]: part["sha256"] for part in index["parts"] if part["path"] in SHARED}
    changed = [part["path"] for part in parts if before.get(part["path"], part["sha256"]) != part["sha256"]]
    if others and changed:
        held = ", ".join(others)
        raise WeightsError(f"{folder} holds {held} with a different {changed[0]}; save into another folder")
