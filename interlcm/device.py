"""Put tensors and the model on the device that uses them, bring results back, and tell errors of a device."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

# A CUDA error after which the process has lost its context. Older versions of PyTorch raise a plain RuntimeError.
LOST_DEVICE: tuple[type[Exception], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()


def upload(values: Tensor, device: torch.device) -> Tensor:
    """The values on the device. CUDA copies pinned memory while the host goes on; for other memory the host waits."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class Download:
    """Values on their way to the host. CUDA copies them into pinned memory, in its turn, while the host goes on."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._landed = values.to("cpu", non_blocking=True), None
        if values.device.type == "cuda":
            self._landed = torch.cuda.Event(blocking=True)  # the host sleeps while it waits
            self._landed.record()

    def numpy(self) -> npt.NDArray[Any]:
        """The values, once they have been computed and copied."""
        if self._landed is not None:
            self._landed.synchronize()
        return self._values.numpy()


def out_of_memory(error: Exception) -> bool:
    """Whether the GPU or the machine ran out of memory; PyTorch has no error class for the latter."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def place(model: Module, device: torch.device, dtype: torch.dtype) -> Module:
    """The model on the device, in `dtype`; its convolutions have their channels last, which tensor cores prefer."""
    return model.to(device, dtype).to(memory_format=torch.channels_last)
