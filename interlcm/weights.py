"""Modules from a weights folder and back (docs/architecture.md has its layout; local folders only).

Bytes are compared with their digest before anything is made of them, tensors are safetensors, and no loader is given
the name of a file or of anything on the network: it gets the bytes that were compared.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ConfigMixin, ControlNetModel, LCMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.utils import logging as transformers_logging

from interlcm.visual_encoder import VisualEncoder
from interlcm.weights_index import (
    DEMO,
    DEMO_WEIGHTS,
    ENCODERS,
    INDEX,
    SHARED,
    Parts,
    WeightsError,
    describe,
    digest,
    empty_index,
    encoder_paths,
    loose_problems,
    merge_index,
    missing_files,
    opened,
    parts_of,
    read_index,
    unlisted,
    verify,
    write_index,
)

__all__ = [
    "DEMO",
    "DEMO_WEIGHTS",
    "WeightsError",
    "digest",
    "load_components",
    "read_index",
    "save_components",
    "verify",
]


DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"

# safetensors makes files that only their owner can read, but the users of a cluster share weights.
READABLE = 0o644

NAMES_SHOWN = 3  # keys that an error names

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
    with one_line(parts.folder / "spatial_encoder/config.json"):
        module = ControlNetModel.from_config(config)
    return fill(module, parts, f"spatial_encoder/{variant}.safetensors")


def load_visual_encoder(parts: Parts, variant: str) -> VisualEncoder:
    config = read_config(parts, "visual_encoder/config.json")
    with one_line(parts.folder / "visual_encoder/config.json"):
        module = VisualEncoder(**config)
    return fill(module, parts, f"visual_encoder/{variant}.safetensors")


def fill(module: Module, parts: Parts, path: str) -> Module:
    file = parts.folder / path
    state = tensors_in(parts.read(path), file)
    check_state(module, state, file)
    module.load_state_dict(state)
    return module.eval()


def read_config(parts: Parts, path: str) -> dict[str, Any]:
    return config_in(parts.read(path), parts.folder / path)


def config_in(data: bytes, file: Path) -> dict[str, Any]:
    """The settings of a module. WeightsError for anything else: diffusers would look up a text on the network."""
    with one_line(file):
        config = json.loads(data)
        if not isinstance(config, dict):
            raise ValueError("it does not hold settings by name")
        return config


def tensors_in(data: bytes, file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, in float32.

    Each is copied, because safetensors leaves a tensor where Python's bytes happen to lie, and the last bit of a sum
    may depend on that alignment.
    """
    with one_line(file):
        state = load(data)
        for key in state:
            state[key] = state[key].to(torch.float32, copy=True)
    return state


def check_state(module: nn.Module, state: Mapping[str, torch.Tensor], file: Path) -> None:
    """WeightsError unless `state` has exactly the keys and shapes of `module`."""
    own = module.state_dict()
    check_keys(file, own.keys() - state.keys(), state.keys() - own.keys())
    wrong = [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        here, wanted = tuple(state[wrong[0]].shape), tuple(own[wrong[0]].shape)
        shapes = f"{named(wrong, 'key')} of a different shape ({here}, wanted {wanted})"
        raise WeightsError(f"{file} has {shapes}; it belongs to a different model; pull or convert it again")


def check_keys(source: Path, missing: Any, unexpected: Any) -> None:
    """Raise WeightsError, which counts missing and unexpected keys and names the first of each, if there are any."""
    found = [f"lacks {named(missing, 'key')}"] if missing else []
    found += [f"has {named(unexpected, 'unexpected key')}"] if unexpected else []
    if found:
        reason = " and ".join(found)
        raise WeightsError(f"{source} {reason}; it belongs to a different model; pull or convert it again")


def named(keys: Any, noun: str) -> str:
    """`2 keys (a, b)`, with `...` after the first few."""
    names = sorted(keys)
    shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
    return f"{len(names)} {noun}{'s' if len(names) != 1 else ''} ({shown})"


@contextmanager
def one_line(source: Path) -> Iterator[None]:
    """Turn a library's error about an unreadable part into one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{source} cannot be loaded ({reason}); pull or convert it again") from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars, and no reports about keys: `check_keys` turns those into errors."""
    levels = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(levels[0])
        transformers_logging.set_verbosity(levels[1])
        if bar:
            transformers_logging.enable_progress_bar()


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
