"""From the published files to a model: pull, verify, load, restore, through the code that users run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interlcm import InterLCM, convert
from interlcm.weights_index import PUBLISHED_VARIANTS
from jobs.__main__ import main
from pipeline.benchmark import model as benchmark_model
from pipeline.weights.pull import pull
from tests.support import tiny
from tests.support.file_server import FileServer
from tests.support.publication import LEGACY, publish

VAE = "vae/diffusion_pytorch_model.safetensors"


def pulled(server: FileServer, model: InterLCM, variant: str, folder: Path) -> None:
    """Publish the model here, then pull and verify it."""
    published = publish(server, model.components(), variant)
    names = [path for path in server.files if path.endswith(VAE)]
    assert all(f".{old}.".encode() in server.files[names[0]] for old in LEGACY.values())
    pull(str(folder), [variant], print, published)
    with pytest.raises(SystemExit) as caught:
        main(["weights", "verify", str(folder)])
    assert not caught.value.code


@pytest.mark.parametrize("variant", ["3step", "inpainting_1step"])
def test_the_published_files_become_the_model_that_they_were_saved_from(
    variant: str, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model()
    for part in ("visual_encoder", "spatial_encoder", "clip"):  # a checkpoint does not contain its sizes
        config = getattr(model, part).config
        monkeypatch.setitem(
            convert.PUBLISHED_SIZES, part, dict(config) if isinstance(config, dict) else config.to_dict()
        )
    pulled(server, model, variant, tmp_path / "weights")
    loaded = InterLCM.from_pretrained(tmp_path / "weights", variant)
    for part in ("unet", "vae", "clip", "visual_encoder", "spatial_encoder"):
        assert tiny.same_weights(getattr(loaded, part), getattr(model, part)), part
    assert loaded.task == PUBLISHED_VARIANTS[variant]["task"]
    model.task, lq = loaded.task, tiny.faces(1)
    assert torch.equal(loaded.restore(lq, steps=2), model.restore(lq, steps=2))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_files_of_the_published_sizes(server: FileServer, tmp_path: Path) -> None:
    """About 6 GB of seeded random numbers; this needs 20 GB of memory."""
    model = benchmark_model.random_model(benchmark_model.SIZES["full"], torch.device("cpu"))
    pulled(server, model, "3step", tmp_path / "weights")
    server.files.clear()
    loaded = InterLCM.from_pretrained(tmp_path / "weights", "3step")
    assert loaded.image_size == 512
    for part in ("unet", "vae", "clip", "visual_encoder", "spatial_encoder"):
        assert tiny.same_weights(getattr(loaded, part), getattr(model, part)), part
