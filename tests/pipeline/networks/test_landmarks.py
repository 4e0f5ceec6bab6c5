"""Landmarks by facexlib's network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from facexlib.alignment import awing_arch

from interlcm.weights_index import WeightsError
from pipeline.networks.landmarks import LANDMARKS, Landmarks, peaks
from tests.support.networks import write_landmark_network
from tests.support.parts import listed
from tests.support.pictures import astronaut, resized


def test_a_peak_is_moved_to_its_higher_neighbour() -> None:
    maps = torch.zeros(3, 8, 10)
    maps[0, 3, 4], maps[0, 3, 5], maps[0, 2, 4] = 2, 1, 1
    maps[1, 0, 0], maps[1, 0, 1] = 2, 1  # in corners: beyond the edge there is no neighbour
    maps[2, 7, 9], maps[2, 6, 9] = 2, 1
    assert peaks(maps).tolist() == [[4.75, 3.25], [0.5, 0.5], [9.5, 7.5]]


def test_peaks_within_a_map_are_those_of_facexlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # which facexlib still asks for
    maps = np.pad(np.random.default_rng(0).random((1, 98, 60, 60)), ((0, 0), (0, 0), (2, 2), (2, 2)))
    assert peaks(torch.from_numpy(maps[0])).numpy() == pytest.approx(awing_arch.calculate_points(maps)[0])


def test_the_network_sees_a_face_as_facexlib_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = write_landmark_network(tmp_path)
    face = resized(astronaut(256)[:256], 512)
    seen: list[np.ndarray] = []

    def kept(maps: np.ndarray) -> np.ndarray:
        seen.append(maps)
        return np.zeros((1, 98, 2))

    monkeypatch.setattr(awing_arch, "calculate_points", kept)
    with torch.inference_mode():
        network.get_landmarks(face[..., ::-1].copy())  # it takes BGR
    landmarks = Landmarks(listed(tmp_path))
    tensor = torch.from_numpy(face).permute(2, 0, 1) / 127.5 - 1
    maps: list[torch.Tensor] = []
    landmarks.network.register_forward_hook(lambda _, __, given: maps.append(given[0][-1][0, :98]))
    points = landmarks.points(tensor)
    assert np.abs(maps[0].numpy() - seen[0][0]).max() < 0.02 * np.abs(seen[0]).max()  # its input has 8 bits, ours more
    torch.testing.assert_close(points, peaks(maps[0]) * 8)  # of 64 cells each way to 512 px
    assert landmarks.distance(tensor, tensor) == 0
    expected = (landmarks.points(tensor.flip(2)) - points).norm(dim=1).mean()
    assert landmarks.distance(tensor.flip(2), tensor) == pytest.approx(float(expected)) != 0


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / LANDMARKS)
    with pytest.raises(WeightsError, match="does not hold the weights of facexlib's FAN"):
        Landmarks(listed(tmp_path))
