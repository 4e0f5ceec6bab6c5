"""Training the encoders from archives: order of the crops, workers, stops, results, and errors in one line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from interlcm import InterLCM, weights_index
from interlcm.errors import TrainingError
from interlcm.weights_index import WeightsError
from jobs.run import Request, run
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import counts as manifest_counts
from pipeline.training import files as training_files
from pipeline.training import train as training
from pipeline.training.data import CropList, CropReader
from pipeline.training.worker import Place, TrainingJob, work
from tests.support.training_runs import curve, faces_tar, settings

FACES = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return faces_tar(tmp_path_factory.mktemp("faces") / "faces.tar", FACES)


@pytest.fixture
def prepared(ray_cluster: None, source: str, tiny_weights: str, tmp_path: Path) -> Callable[..., TrainingJob]:
    def prepare(name: str = "out", recipe: dict[str, Any] | None = None, **changed: Any) -> TrainingJob:
        return training.prepare([source], str(tmp_path / name), tiny_weights, settings(recipe, **changed))

    return prepare


def crops_of(job: TrainingJob) -> CropList:
    import ray

    crops: CropList = ray.get(job.crops)
    return crops


def alone(job: TrainingJob, stop_at: int | None = None) -> None:
    """The training in this process; `stop_at` ends it after that iteration, like a kill."""

    def report(about: dict[str, Any]) -> None:
        if about["iteration"] == stop_at:
            raise KeyboardInterrupt

    work(job, Place(), report, lambda module: module)


def test_every_crop_comes_once_before_one_comes_again(prepared: Callable[..., TrainingJob]) -> None:
    crops = crops_of(prepared())
    count = FACES + 2 - crops.held_out  # with the two that cannot be used
    held = {crops.held_row(n)["member"] for n in range(crops.held_out)}
    epochs = [[crops.place(0, place)["member"] for place in range(e * count, (e + 1) * count)] for e in range(2)]
    for members in epochs:
        assert len(set(members)) == count and not held & set(members)
    assert epochs[0] != epochs[1]
    assert epochs[0] != [crops.place(1, place)["member"] for place in range(count)]


def test_a_place_gives_the_same_pair_whatever_was_read_before(prepared: Callable[..., TrainingJob]) -> None:
    job = prepared(flip=0.5)
    crops = crops_of(job)
    one, other = (CropReader(crops, job.settings, 32) for _ in range(2))
    pairs = [one.training(place) for place in range(12)]
    again = other.training(11)
    assert np.array_equal(pairs[11]["hq"], again["hq"]) and np.array_equal(pairs[11]["lq"], again["lq"])
    assert pairs[11]["seed"] == again["seed"] and len({pair["seed"] for pair in pairs}) == 12
    assert all(pair["hq"].shape == pair["lq"].shape == (32, 32, 3) for pair in pairs)
    # Files that are not photos, or not square, are skipped and named.
    reasons = {line for pair in pairs for line in pair["left_out"].splitlines()}
    members = {row["member"] for row in crops.rows.to_pylist()[crops.held_out :]} & {"about.txt", "wide.png"}
    assert {line.partition(":")[0] for line in reasons} == members


def test_crops_are_mirrored_as_often_as_asked(prepared: Callable[..., TrainingJob]) -> None:
    job = prepared()
    crops = crops_of(job)
    plain, mirrored = (CropReader(crops, replace(job.settings, flip=flip), 32).training(3)["hq"] for flip in (0.0, 1.0))
    assert np.array_equal(plain[:, ::-1], mirrored) and not np.array_equal(plain, mirrored)


def test_stopped_and_started_again_gives_the_same_curve(prepared: Callable[..., TrainingJob], tmp_path: Path) -> None:
    """The training dies between two checkpoints. A batch has two micro-batches."""
    short = {"batch": 2}
    job = prepared("through", short)
    alone(job)
    expected = curve(tmp_path / "through")
    assert list(expected) == [1, 2, 3, 4] and len(set(expected.values())) == 4
    with pytest.raises(KeyboardInterrupt):
        alone(prepared("stopped", short), stop_at=3)
    assert training_files.checkpoints(str(tmp_path / "stopped")) == [2]
    alone(prepared("stopped", short))
    assert curve(tmp_path / "stopped") == expected
    assert set(curve(tmp_path / "through", "loss/discriminator")) == {4}
    check_result(job, tmp_path / "through")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_workers_give_the_curve_of_one(prepared: Callable[..., TrainingJob], tmp_path: Path) -> None:
    """Two workers of Ray Train with half the batch each."""
    job = prepared("two")
    reports = list(training.train(job, workers=2, gpus=False))
    assert reports[-1]["iteration"] == 4
    alone(prepared("one"))
    # Batch norm in the discriminator sees micro-batches of one in both, so all losses agree.
    expected = curve(tmp_path / "one")
    assert curve(tmp_path / "two") == {step: pytest.approx(value, rel=1e-4) for step, value in expected.items()}
    check_result(job, tmp_path / "two")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_s3_it_goes_on_and_its_weights_restore(
    ray_cluster: None, bucket: str, source: str, tiny_weights: str
) -> None:
    """Source, checkpoints, result and the archive to restore are all on the S3 server."""
    faces, output = f"{bucket}/faces.tar", f"{bucket}/training"
    storage.put_file(faces, Path(source))

    def start(stop_at: int | None = None) -> None:
        alone(training.prepare([faces], output, tiny_weights, settings()), stop_at)

    with pytest.raises(KeyboardInterrupt):
        start(stop_at=3)
    assert training_files.checkpoints(output) == [2]
    start()
    assert training_files.checkpoints(output) == [2, 4]
    chosen = Settings(weights=f"{output}/weights", aligned=True)
    run(Request([faces], f"{bucket}/restored", chosen, actors=(1, 1)))
    counts = manifest_counts.counts(f"{bucket}/restored")
    assert counts.adds_up and counts.restored == FACES


def check_result(job: TrainingJob, output: Path) -> None:
    assert weights_index.verify(output / "weights") == []
    index = weights_index.read_index(output / "weights")
    assert index["variants"] == {"3step": {"steps": [2, 3], "task": "restore"}}
    assert {part["licence"] for part in index["parts"] if part["variant"]} == {"test"}
    model = InterLCM.from_pretrained(output / "weights")
    before = InterLCM.from_pretrained(job.weights)
    assert torch.equal(model.unet.conv_in.weight, before.unet.conv_in.weight)
    assert model.restore(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    with Image.open(output / "samples/0000004.png") as grid:
        held_out = len(CropReader(crops_of(job), job.settings, 32).held_out())
        assert grid.size == (3 * 32, 32 * held_out)
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["0000002.pt", "0000004.pt"]
    assert set(curve(output, "held_out/psnr")) == {0, 4}


def test_another_training_is_not_continued(prepared: Callable[..., TrainingJob]) -> None:
    prepared()
    with pytest.raises(TrainingError, match=r"was begun with other settings; name a new --output"):
        prepared(recipe={"learning_rate": 2e-3})


def test_sources_of_another_time_are_not_mixed(
    ray_cluster: None, tiny_weights: str, tmp_path: Path, source: str
) -> None:
    output = str(tmp_path / "out")
    training.prepare([source], output, tiny_weights, settings())
    training.prepare([], output, tiny_weights, settings())  # they are remembered
    with pytest.raises(TrainingError, match="was begun with other sources"):
        training.prepare([str(tmp_path)], output, tiny_weights, settings())


def test_a_loss_that_is_no_number_ends_it(prepared: Callable[..., TrainingJob], tmp_path: Path) -> None:
    job = prepared(recipe={"learning_rate": 1e30, "final_learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"the pixel loss is nan at iteration 2; lower learning_rate \(1e\+30\)"):
        alone(job)
    assert training_files.checkpoints(str(tmp_path / "out")) == []


def test_sources_that_cannot_be_trained_on_are_one_line(
    ray_cluster: None, source: str, tiny_weights: str, tmp_path: Path
) -> None:
    def fails(*sources: str, **changed: Any) -> str:
        with pytest.raises(Exception) as caught:
            job = training.prepare(
                sources, str(tmp_path / str(len(list(tmp_path.iterdir())))), tiny_weights, settings(**changed)
            )
            alone(job)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "name SOURCES" in fails()
    (tmp_path / "empty").mkdir()
    assert "the folder holds no files" in fails(str(tmp_path / "empty"))
    assert "hold 10 photos, and 99 are to be held out" in fails(source, held_out=99)
    packed = tmp_path / "faces.tar.gz"
    packed.write_bytes(gzip.compress(Path(source).read_bytes()))
    assert "compressed as a whole" in fails(str(packed))
    texts = tmp_path / "texts"
    texts.mkdir()
    for n in range(3):
        (texts / f"{n}.txt").write_text("no face")
    assert "none of the 2 held-out photos can be used; the first: " in fails(str(texts), held_out=2)


def test_weights_that_do_not_fit_are_one_line(source: str, tiny_weights: str, tmp_path: Path) -> None:
    """Before Ray starts."""
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth is missing; get it with `interlcm weights pull"):
        training.check_inputs([source], str(tmp_path / "a"), tiny_weights, settings({"perceptual_weight": 1}))
    with pytest.raises(WeightsError, match=r"no variant 'mine'"):
        training.check_inputs([source], str(tmp_path / "b"), tiny_weights, settings(variant="mine", start="variant"))
