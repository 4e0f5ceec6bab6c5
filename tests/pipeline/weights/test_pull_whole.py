"""From the published files to restored photos: pull, verify, restore, evaluate, through the commands of users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pyarrow.parquet import read_table

from interlcm import InterLCM, convert
from interlcm.weights_index import PUBLISHED_VARIANTS, digest, opened, read_index, write_index
from jobs.__main__ import main
from pipeline.benchmark import model as benchmark_model
from pipeline.faces.detectors import FILES, load_detector
from tests.support import tiny
from tests.support.file_server import FileServer
from tests.support.pictures import astronaut, encoded
from tests.support.publication import LEGACY, publish

VAE = "vae/diffusion_pytorch_model.safetensors"


def command(*words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*words])
    assert not stopped.value.code, words


@pytest.fixture
def pulled(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[InterLCM, str, Path], None]:
    """Publishes a model here, then pulls and verifies it."""

    def pull(model: InterLCM, variant: str, folder: Path) -> None:
        published = publish(server, model.components(), variant)
        names = [path for path in server.files if path.endswith(VAE)]
        assert all(f".{old}.".encode() in server.files[names[0]] for old in LEGACY.values())
        monkeypatch.setattr("pipeline.weights.published.PUBLISHED", tuple(published))
        command("weights", "pull", str(folder), "--variant", variant)
        command("weights", "verify", str(folder))
        assert [path for path in FILES.values() if (folder / path).exists()] == [
            FILES["yunet"],
            FILES["retinaface_mobile0.25"],
        ]

    return pull


def restored(weights: Path, variant: str, to: Path) -> list[str | None]:
    """The status of each photo of a run with the weights, after an evaluation with them, both on an aligned face."""
    face, task = to / "face", PUBLISHED_VARIANTS[variant]["task"]
    face.mkdir()
    (face / "face.png").write_bytes(encoded(astronaut(64), "PNG"))
    given = ["--aligned", "--weights", str(weights), "--task", task]
    command("evaluate", str(face), *given, "--output", str(to / "figures"))
    (measured,) = read_table(to / "figures" / "faces.parquet").to_pylist()
    assert (measured["status"], measured["weights_digest"]) == ("measured", digest(weights, variant))
    command("restore", str(face), *given, "--engine", "here", "--output", str(to / "run"))
    assert (to / "run" / "restored").is_dir()
    return read_table(to / "run" / "manifest")["status"].to_pylist()


@pytest.mark.parametrize("variant", ["3step", "inpainting_1step"])
def test_the_published_files_become_the_model_that_they_were_saved_from(
    variant: str,
    pulled: Callable[[InterLCM, str, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny.model()
    for part in ("visual_encoder", "spatial_encoder", "clip"):  # a checkpoint does not contain its sizes
        config = getattr(model, part).config
        monkeypatch.setitem(
            convert.PUBLISHED_SIZES, part, dict(config) if isinstance(config, dict) else config.to_dict()
        )
    pulled(model, variant, tmp_path / "weights")
    assert load_detector("auto", opened(tmp_path / "weights")).name == "yunet"
    loaded = InterLCM.from_pretrained(tmp_path / "weights", variant)
    for part in ("unet", "vae", "clip", "visual_encoder", "spatial_encoder"):
        assert tiny.same_weights(getattr(loaded, part), getattr(model, part)), part
    assert loaded.task == PUBLISHED_VARIANTS[variant]["task"]
    model.task, lq = loaded.task, tiny.faces(1)
    assert torch.equal(loaded.restore(lq, steps=2), model.restore(lq, steps=2))
    # Pulled weights are for crops of 512 px, which these networks would take minutes for.
    write_index(tmp_path / "weights", {**read_index(tmp_path / "weights"), "image_size": tiny.IMAGE_SIZE})
    assert restored(tmp_path / "weights", variant, tmp_path) == ["restored"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_files_of_the_published_sizes(
    server: FileServer, pulled: Callable[[InterLCM, str, Path], None], tmp_path: Path
) -> None:
    """About 6 GB of seeded random numbers; this needs 20 GB of memory."""
    model = benchmark_model.random_model(benchmark_model.SIZES["full"], torch.device("cpu"))
    pulled(model, "3step", tmp_path / "weights")
    server.files.clear()
    loaded = InterLCM.from_pretrained(tmp_path / "weights", "3step")
    assert loaded.image_size == 512
    for part in ("unet", "vae", "clip", "visual_encoder", "spatial_encoder"):
        assert tiny.same_weights(getattr(loaded, part), getattr(model, part)), part
    del model, loaded
    assert restored(tmp_path / "weights", "3step", tmp_path) == ["restored"]
