"""torch.compile of the actor's model, on the CPU: the wiring, with the tests' small model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from interlcm.device import LOST_DEVICE
from interlcm.model import InterLCM
from pipeline.networks.compiled import compile_model
from tests.support import tiny


@pytest.fixture(autouse=True)
def no_compiler_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/tmp/torchinductor_me")  # as PyTorch itself does when imported
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def backend(compiled: list[int]) -> Any:
    """A backend of torch.compile that counts graphs and runs them as they are."""

    def compiler(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        compiled.append(len(graph.graph.nodes))
        return graph.forward

    return compiler


def restored(model: InterLCM, steps: int = 2) -> torch.Tensor:
    return model.restore(tiny.faces(2), steps, seeds=[0, 1])


def test_networks_are_compiled_once_for_all_micro_batches_of_a_size(tmp_path: Path) -> None:
    model, graphs = tiny.model(), list[int]()
    expected = restored(model, steps=3)
    folder = tmp_path / "compiled"
    assert compile_model(model, lambda: restored(model), folder, backend=backend(graphs))
    count = len(graphs)
    assert count >= 4 and sum(graphs) > 200  # UNet, spatial encoder, encoder and decoder
    torch.testing.assert_close(restored(model, steps=3), expected, atol=1e-4, rtol=0)
    assert len(graphs) == count  # other timesteps need no other code
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder) and folder.stat().st_mode & 0o77 == 0
    model.run_eagerly()
    assert torch.equal(restored(model, steps=3), expected)


def test_a_compiler_that_fails_is_one_line_and_the_model_stays_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.model()
    expected = restored(model)

    def broken(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        raise RuntimeError("no working\nC++ compiler")

    assert not compile_model(model, lambda: restored(model), tmp_path, backend=broken)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the model is not compiled and about a quarter slower: ")
    assert "no working C++ compiler" in line
    assert torch.equal(restored(model), expected)


@pytest.mark.skipif(not LOST_DEVICE, reason="this PyTorch has no error of its own for it")
def test_compiled_code_that_loses_the_gpu_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ended(BaseException):
        pass

    def trial() -> None:
        raise LOST_DEVICE[0]("CUDA error: an illegal memory access was encountered")

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended):
        compile_model(tiny.model(), trial, tmp_path)
    assert not compile_model(tiny.model(), trial, tmp_path)
    line = capsys.readouterr().err
    assert "an illegal memory access" in line and f"delete {tmp_path}/failed-{torch.__version__}" in line
