"""The two encoders before and after training: their initial weights, and the weights folder of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from interlcm.model import InterLCM
from interlcm.spatial_encoder import CONDITIONING_CHANNELS, spatial_encoder_for
from interlcm.visual_encoder import VisualEncoder
from interlcm.weights import DIFFUSERS_FILE, diffusers_module, load_lcm, read_config
from interlcm.weights_content import config_in, one_line, quiet_libraries
from interlcm.weights_index import (
    ENCODERS,
    Parts,
    WeightsError,
    describe,
    empty_index,
    merge_index,
    opened,
    write_index,
)
from interlcm.weights_saving import tidy_config, write_encoder

SIZES = ("block_out_channels", "down_block_types", "layers_per_block", "cross_attention_dim", "in_channels")


def new_encoders(folder: Path | Parts, seed: int, unet_folder: Path | None = None) -> InterLCM:
    """LCM and CLIP of a local weights folder, with untrained encoders.

    The spatial encoder begins as the encoder half of a UNet (arXiv 2502.02215, section 3.2), the visual encoder with
    random weights. The folder's config files set their sizes; without these they are the published ones.

    Args:
        folder: weights folder; it needs no variant.
        seed: seed of the random weights; torch's global generator is left as it was.
        unet_folder: diffusers folder of the UNet that the spatial encoder begins as, such as that of Stable Diffusion
            1.5; the folder's own LCM when None. WeightsError if its sizes are not those of the LCM.
    """
    listed = opened(folder)
    with quiet_libraries():
        parts = load_lcm(listed)
    donor = parts["unet"]
    if unet_folder is not None:
        donor = unlisted_unet(unet_folder)
        check_same_sizes(unet_folder, donor, parts["unet"])
    configs = (f"{encoder}/config.json" for encoder in ("spatial_encoder", "visual_encoder"))
    spatial, visual = (read_config(listed, path) if path in listed else {} for path in configs)
    widths = spatial.get("conditioning_embedding_out_channels", CONDITIONING_CHANNELS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = {
            "spatial_encoder": spatial_encoder_for(donor, conditioning_channels=widths),
            "visual_encoder": VisualEncoder(**visual),
        }
    return InterLCM(**parts, **encoders, image_size=listed.index["image_size"])


def unlisted_unet(folder: Path) -> Any:
    """The UNet in a diffusers folder without an index."""
    with one_line(folder), quiet_libraries():
        config = config_in((folder / "config.json").read_bytes(), folder / "config.json")
        data = (folder / DIFFUSERS_FILE).read_bytes()
        return diffusers_module(UNet2DConditionModel, config, data, folder / DIFFUSERS_FILE)


def check_same_sizes(folder: Path, donor: UNet2DConditionModel, unet: UNet2DConditionModel) -> None:
    for name in SIZES:
        if donor.config[name] != unet.config[name]:
            found = f"{folder}: {name} is {donor.config[name]}, but {unet.config[name]} in the LCM"
            raise WeightsError(f"{found}; name a UNet of the same model family")


def save_variant(
    folder: Path,
    source: Path | Parts,
    variant: str,
    encoders: Mapping[str, nn.Module],
    *,
    steps: Sequence[int],
    task: str,
    licence: str,
    origin: str,
) -> None:
    """Write a weights folder of one variant: the unchanged shared parts of `source` and the trained encoders.

    Args:
        folder: new, local.
        source: local weights folder that the training began with; its files and their licences are copied.
        variant: name of the encoders' files.
        encoders: visual_encoder and spatial_encoder.
        steps: step counts that the variant supports, the first step included.
        task: restore, colorize or inpaint.
        licence, origin: of the encoders, for the index.
    """
    before = opened(source)
    index = before.index
    shared = [part for part in index["parts"] if part["variant"] is None and not part["path"].startswith(ENCODERS)]
    for part in shared:
        (folder / part["path"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / part["path"]).write_bytes(before.read(part["path"]))
    for name in ENCODERS:
        (folder / name).mkdir(parents=True)
        write_encoder(folder / name, variant, encoders[name], encoders[name].state_dict())
        tidy_config(folder / name / "config.json")
    own = [
        describe(folder / path, path, licence, origin, user)
        for name in ENCODERS
        for path, user in ((f"{name}/config.json", None), (f"{name}/{variant}.safetensors", variant))
    ]
    begun = empty_index(index["image_size"])
    write_index(folder, merge_index(begun, [*shared, *own], {variant: {"steps": list(steps), "task": task}}))
