"""How tensors and the model get to the device that they are used on."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """The values on the device. CUDA copies from pinned memory while the host goes on; from other memory it waits."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def place(model: Module, device: torch.device, dtype: torch.dtype) -> Module:
    """The model on the device, in `dtype`; its convolutions keep the channels last, as tensor cores want them."""
    return model.to(device, dtype).to(memory_format=torch.channels_last)
