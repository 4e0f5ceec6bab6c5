"""Pixels to tensors and back, at 8 and at 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interlcm.pixels import to_pixels, to_tensor


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pixels_go_there_and_back(kind: type) -> None:
    pixels: np.ndarray = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (2, 4, 5, 3)).astype(kind)
    pixels.flat[:2] = 0, np.iinfo(kind).max
    pixels.setflags(write=False)  # as Arrow gives them
    pictures = to_tensor(pixels)
    assert pictures.shape == (2, 3, 4, 5) and pictures.dtype == torch.float32
    assert (pictures.min(), pictures.max()) == (-1, 1)
    back = to_pixels(pictures, np.dtype(kind))
    assert back.dtype == kind and np.array_equal(back, pixels)


def test_one_picture_and_values_beyond_the_range() -> None:
    picture = torch.tensor([[[-3.0, 0.0]], [[3.0, 0.0]], [[1.0, -1.0]]])
    assert to_pixels(picture).tolist() == [[[0, 255, 255], [128, 128, 0]]]
    assert to_tensor(to_pixels(picture)).shape == (3, 1, 2)
