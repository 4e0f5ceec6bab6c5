"""Convert pixels of a picture to the model's tensors and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlcm.device import upload

UINT8 = np.dtype(np.uint8)


def to_tensor(pixels: npt.NDArray[Any], device: torch.device | str = "cpu") -> Tensor:
    """(..., H, W, 3) uint8, or uint16 over its full range, to (..., 3, H, W) float32 in [-1, 1] on the device."""
    # A copy: arrays from Arrow are read-only, and PyTorch warns about those.
    values = upload(torch.from_numpy(np.array(pixels, order="C")), torch.device(device)).float()
    return values.movedim(-1, -3) / (np.iinfo(pixels.dtype).max / 2) - 1


def to_pixels(pictures: Tensor, kind: np.dtype = UINT8) -> npt.NDArray[Any]:
    """(..., 3, H, W), clamped to [-1, 1], to (..., H, W, 3) uint8 or uint16, rounded."""
    return np.asarray(to_levels(pictures, kind).cpu().numpy().astype(kind, copy=False))


def to_levels(pictures: Tensor, kind: np.dtype = UINT8) -> Tensor:
    """`to_pixels` on the pictures' device: as uint8, or for uint16, of which PyTorch has few operations, as int32."""
    levels = ((pictures.clamp(-1, 1) + 1) * (np.iinfo(kind).max / 2)).round()
    return levels.to(torch.uint8 if kind == np.uint8 else torch.int32).movedim(-3, -1).contiguous()
