"""All files of one variant as they are published: hub files, a whole CLIP, the encoders' checkpoints."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig
from transformers import CLIPVisionModel as Vision

from interlcm.weights_index import ENCODERS
from pipeline.faces.detectors import FILES
from pipeline.weights.published import PUBLISHED, Published
from tests.support.file_server import FileServer
from tests.support.networks import write_retinaface
from tests.support.onnx import write_yunet

# Names of the VAE's attention in old files, such as the published one's, and in diffusers now.
LEGACY = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def publish(server: FileServer, components: Mapping[str, Any], variant: str) -> list[Published]:
    """Put the parts of a model and two detectors onto the server, each in its published form; the entries that have
    their addresses.

    The entries are those of PUBLISHED, with this server's addresses and without their sha256.
    """
    detectors = files_of_detectors()
    whole = ("lcm/", "clip/", *detectors)
    parts = [one for one in PUBLISHED if one.path.startswith(whole) or one.variant == variant]
    for part in parts:
        server.files[path_of(part)] = detectors.get(part.path) or content(part, components)
    return [replace(one, url=one.url and server.url + path_of(one), other_url="", sha256=None) for one in parts]


def files_of_detectors() -> dict[str, bytes]:
    """Paths in a weights folder, and files of random weights."""
    yunet, retinaface = FILES["yunet"], FILES["retinaface_mobile0.25"]
    with TemporaryDirectory() as folder:
        write_yunet(Path(folder) / yunet)
        write_retinaface(Path(folder), "retinaface_mobile0.25")
        return {path: (Path(folder) / path).read_bytes() for path in (yunet, retinaface)}


def path_of(part: Published) -> str:
    return f"/{part.repo}/resolve/{part.revision}/{part.file}" if part.repo else f"/{part.name}"


def content(part: Published, components: Mapping[str, Any]) -> bytes:
    folder, name = part.path.split("/")[0], part.path.split("/")[-1]
    if folder in ENCODERS:
        return checkpoint({"params_ema": components[folder].state_dict()})
    if folder == "clip":
        return checkpoint(whole_clip(components["clip"]).state_dict())
    module = components[part.path.split("/")[1]]
    if name.endswith(".json"):
        return str(module.to_json_string()).encode()
    state = {legacy(key): tensor.contiguous() for key, tensor in module.state_dict().items()}
    return save(state, metadata={"format": "pt"})


def legacy(key: str) -> str:
    """The VAE has its attention in `mid_block`, the UNet in `attentions` with transformer blocks, which stay."""
    if "mid_block.attentions.0.to_" in key:
        for new, old in LEGACY.items():
            key = key.replace(f".{new}.", f".{old}.")
    return key


def whole_clip(vision: Vision) -> CLIPModel:
    """CLIP with its text tower, whose vision tower has these weights."""
    text = CLIPTextConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.config.to_dict()))
    tower = vision.state_dict()
    own = whole.vision_model.state_dict()
    whole.vision_model.load_state_dict({key: tower[key if key in tower else f"vision_model.{key}"] for key in own})
    return whole


def checkpoint(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
