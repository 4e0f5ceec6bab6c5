"""Put tensors and the model on the device that uses them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """The values on the device. CUDA copies pinned memory while the host goes on; for other memory the host waits."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def place(model: Module, device: torch.device, dtype: torch.dtype) -> Module:
    """The model on the device, in `dtype`; its convolutions have their channels last, which tensor cores prefer."""
    return model.to(device, dtype).to(memory_format=torch.channels_last)
