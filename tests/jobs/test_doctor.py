from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Interlcm


def line(text: str, begin: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(begin)]
    return found


def test_one_screen_says_what_is_there(interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert interlcm("doctor") == 0
    assert len(interlcm.out.splitlines()) < 24
    assert "pictures, stages, restore, cluster" in line(interlcm.out, "extras")
    assert "3step: task restore, steps 2, 3, 4" in line(interlcm.out, "  3step")
    assert "AWS_SECRET_ACCESS_KEY" in line(interlcm.out, "storage settings")
    assert "hidden" not in interlcm.out
    assert "RAY_ADDRESS is not set" in line(interlcm.out, "Ray")
    assert "this process" in line(interlcm.out, "a run would use")


def test_what_is_wrong_is_a_line_and_the_rest_is_still_said(
    interlcm: Interlcm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert interlcm("doctor", "--weights", str(tmp_path / "nowhere")) == 0
    assert "no such file or folder" in line(interlcm.out, "weights")
    assert "RAY_ADDRESS=127.0.0.1:1" in line(interlcm.out, "Ray")
    assert line(interlcm.out, "storage settings")


@pytest.mark.parametrize("address", ["head", "http://127.0.0.1:8265"])
def test_an_address_that_ray_cannot_join(address: str, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert interlcm("doctor") == 0
    assert f"RAY_ADDRESS={address}: give HOST:PORT" in line(interlcm.out, "Ray")


def test_parts_of_a_weights_folder(interlcm: Interlcm, tiny_weights: str) -> None:
    parts = {"face/parsing_parsenet.pth": "parsing masks", "face/face_detection_yunet_2023mar.onnx": "detector yunet"}
    assert interlcm("doctor", "--weights", tiny_weights) == 0
    for path, words in parts.items():
        assert (f"  {words}: {path}" in interlcm.out.splitlines()) == Path(tiny_weights, path).exists()
