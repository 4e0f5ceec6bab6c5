"""Real-ESRGAN in tiles, from files with the keys of the published ones and few weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from interlcm.weights_index import Parts, WeightsError
from pipeline.networks.files import background_file
from pipeline.networks.real_esrgan import AROUND, Background, spans
from tests.support.networks import write_background_network
from tests.support.parts import listed
from tests.support.pictures import astronaut


def network_of(weights: Path, scale: int) -> Parts:
    write_background_network(weights / f"background/RealESRGAN_x{scale}plus.pth", scale)
    return listed(weights)


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_give_what_the_whole_photo_gives(tmp_path: Path, scale: int) -> None:
    network = Background(network_of(tmp_path, scale), scale)
    photo = astronaut(150)[:131]  # neither a multiple of the tile nor of 4
    untiled = network.enlarge(photo, tile=200)
    assert untiled.shape == (131 * scale, 150 * scale, 3) and untiled.dtype == np.uint8
    assert untiled.std() > 5  # a picture, not a flat field that any tiling gets right
    tiled = network.enlarge(photo, tile=48)
    assert np.abs(tiled.astype(int) - untiled).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 70)])
def test_photos_smaller_than_a_tile(tmp_path: Path, shape: tuple[int, int]) -> None:
    network = Background(network_of(tmp_path, 2), 2)
    photo = np.full((*shape, 3), 90, np.uint8)
    assert network.enlarge(photo).shape == (2 * shape[0], 2 * shape[1], 3)


def test_spans_cover_a_line_once() -> None:
    parts = list(spans(1000, 384))
    assert [(start, end) for start, end, _, _ in parts] == [(0, 384), (384, 768), (768, 1000)]
    assert [(before, after) for _, _, before, after in parts] == [
        (0, 384 + AROUND),
        (384 - AROUND, 768 + AROUND),
        (768 - AROUND, 1000),
    ]


def test_the_file_of_each_scale(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"--upscale 2 needs .*background/RealESRGAN_x2plus.pth: get it with"):
        background_file(listed(tmp_path), 2)
    with pytest.raises(WeightsError, match="not 1: choose --upscale 2 or 4"):
        background_file(listed(tmp_path), 1)
    assert background_file(network_of(tmp_path, 4), 4) == "background/RealESRGAN_x4plus.pth"


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "background/RealESRGAN_x4plus.pth"
    file.parent.mkdir()
    other, two = tmp_path / "other.pth", write_background_network(tmp_path / "x2.pth", 2)
    torch.save({"layer.weight": torch.zeros(3, 3)}, other)
    for data, problem in (
        (b"no weights", "RealESRGAN_x4plus.pth is refused"),
        (other.read_bytes(), "x4plus.pth does not hold the weights of Real-ESRGAN"),
        (two.read_bytes(), "x4plus.pth does not enlarge colour photos 4 times"),
    ):
        file.write_bytes(data)
        with pytest.raises(WeightsError, match=problem) as caught:
            Background(listed(tmp_path), 4)
        assert "\n" not in str(caught.value)
