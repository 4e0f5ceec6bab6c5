"""What `InterLCM.restore` promises for any weights; the numbers themselves are in test_parity."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from interlcm import InterLCM
from interlcm.color_fix import is_grey
from interlcm.degradation import lq_for
from tests.support import tiny


@pytest.fixture(scope="module")
def model() -> InterLCM:
    return tiny.model()


class Perfect(InterLCM):
    """An identity network on sharp faces: with any weights, the result is the sharp face itself."""

    hq: torch.Tensor

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return self.hq


def perfect(hq: torch.Tensor, task: str) -> Perfect:
    model = Perfect(**tiny.components(), image_size=tiny.IMAGE_SIZE, task=task).eval()
    model.hq = hq
    return model


@pytest.mark.parametrize("faces", [tiny.faces(1), tiny.faces(1).mean(1, keepdim=True).expand(-1, 3, -1, -1)])
@pytest.mark.parametrize("task", ["inpaint", "colorize"])
def test_defaults_of_a_task_leave_a_perfect_result_as_it_is(task: str, faces: torch.Tensor) -> None:
    """White strokes do not return as haze, and colour is not removed again, even for a grey face."""
    lq = lq_for(task, faces[0], (), torch.Generator().manual_seed(0))[None]
    assert task == "inpaint" or is_grey(lq).all()
    model = perfect(faces, task)
    assert torch.equal(model.restore(lq), faces)
    if task == "inpaint":
        assert (model.restore(lq, color_fix="wavelet") - faces).mean() > 0.1  # of a range of 2


def test_restore_takes_its_colours_from_the_input() -> None:
    lq, hq = tiny.faces(1), tiny.faces(1, seed=1)
    model = perfect(hq, "restore")
    assert torch.equal(model.restore(lq), model.restore(lq, color_fix="wavelet"))
    assert not torch.equal(model.restore(lq), hq)


def grey_faces(count: int) -> torch.Tensor:
    return tiny.faces(count).mean(1, keepdim=True).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("steps", [2, 3, 4])
@pytest.mark.parametrize("color_fix", ["wavelet", "adain", "none"])
def test_batch_is_the_same_as_faces_one_by_one(model: InterLCM, steps: int, color_fix: str) -> None:
    lq, seeds = tiny.faces(3), [11, 2, 2**40]
    lq[1] = grey_faces(1)[0]
    batch = model.restore(lq, steps, seeds, color_fix)
    alone = [model.restore(lq[i : i + 1], steps, seeds[i : i + 1], color_fix) for i in range(3)]
    torch.testing.assert_close(batch, torch.cat(alone), atol=1e-4, rtol=0)


def test_result_is_float32_of_the_shape_of_the_input(model: InterLCM) -> None:
    lq = tiny.faces(2).double()
    restored = model.restore(lq)
    assert restored.shape == lq.shape and restored.dtype == torch.float32
    assert not restored.requires_grad


def test_crops_need_not_be_of_the_training_size_or_square(model: InterLCM) -> None:
    lq = torch.nn.functional.interpolate(tiny.faces(1), size=(48, 64))
    assert model.restore(lq, steps=2).shape == (1, 3, 48, 64)


def test_seed_decides_the_result(model: InterLCM) -> None:
    lq = tiny.faces(1)
    first = model.restore(lq, seeds=[7])
    torch.manual_seed(99)  # the global generator has no influence
    assert torch.equal(model.restore(lq, seeds=[7]), first)
    assert (model.restore(lq, seeds=[8]) - first).abs().max() > 0.01
    assert torch.equal(model.restore(lq), model.restore(lq, seeds=[0]))


def test_steps_and_every_part_matter(model: InterLCM) -> None:
    """Each part matters: the result changes with its weights."""
    lq = tiny.faces(1)
    results = [model.restore(lq, steps, color_fix="none") for steps in (2, 3, 4)]
    for part in ("unet", "vae", "spatial_encoder", "visual_encoder", "clip"):
        changed = tiny.model()
        setattr(changed, part, tiny.components(seed=1)[part])
        results.append(changed.restore(lq, color_fix="none"))
    for i, result in enumerate(results):
        for other in results[:i]:
            assert (result - other).abs().max() > 1e-4


def test_gradient_reaches_the_input_through_every_step(model: InterLCM) -> None:
    lq = tiny.faces(1).requires_grad_()
    model.decode(model.unroll(lq, 4, [0])).sum().backward()
    assert lq.grad is not None and lq.grad.abs().sum() > 0


@pytest.mark.parametrize("steps", [-1, 0, 1, 5])
def test_steps_out_of_range_are_refused(model: InterLCM, steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps is {steps}; .* 2 to 4"):
        model.restore(tiny.faces(1), steps=steps)


@pytest.mark.parametrize(
    "shape",
    [(3, 32, 32), (1, 1, 32, 32), (1, 32, 32, 3), (0, 3, 32, 32), (1, 3, 32, 31), (1, 3, 31, 32)],
)
def test_other_shapes_are_refused(model: InterLCM, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        model.restore(torch.zeros(shape))
    message = f"lq is {shape}; restore needs (N, 3, H, W), H and W multiples of 2"
    assert message in str(caught.value)


@pytest.mark.parametrize(("faces", "seeds"), [(2, [1]), (1, [1, 2]), (1, [])])
def test_each_face_needs_one_seed(model: InterLCM, faces: int, seeds: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{len(seeds)} seeds for {faces} faces"):
        model.restore(tiny.faces(faces), seeds=seeds)


def test_unknown_color_fix_names_the_known(model: InterLCM) -> None:
    with pytest.raises(ValueError, match="'sepia'; choose one of wavelet, adain, none"):
        model.restore(tiny.faces(1), color_fix="sepia")


@pytest.mark.parametrize("color_fix", ["wavelet", "adain", "none"])
def test_monochrome_stays_monochrome(model: InterLCM, color_fix: str) -> None:
    lq = grey_faces(2)
    restored = model.restore(lq, color_fix=color_fix)
    torch.testing.assert_close(restored, restored[:, :1].expand_as(restored), atol=1e-4, rtol=0)
    torch.testing.assert_close(restored.mean((2, 3)), lq.mean((2, 3)), atol=1e-3, rtol=0)
    # These weights would colour it, so it is the model that kept it grey.
    free = model.restore(lq, color_fix=color_fix, keep_monochrome=False)
    assert (free - free[:, :1]).abs().max() > 0.05


def test_sepia_keeps_its_tint(model: InterLCM) -> None:
    tint = torch.tensor([0.2, 0.05, -0.15]).view(1, 3, 1, 1)
    lq = 0.5 * grey_faces(2) + tint
    restored = model.restore(lq)
    assert is_grey(restored).all()
    torch.testing.assert_close(restored.mean((2, 3)), lq.mean((2, 3)), atol=1e-3, rtol=0)


def test_saved_model_comes_back_identical(model: InterLCM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, variant="3step", licence="test", origin="random")
    again = InterLCM.from_pretrained(tmp_path, variant="3step")
    assert again.image_size == tiny.IMAGE_SIZE and not again.training
    lq = tiny.faces(2)
    assert torch.equal(again.restore(lq, seeds=[3, 4]), model.restore(lq, seeds=[3, 4]))


def test_untrained_model_has_the_shapes_of_its_configs(model: InterLCM) -> None:
    parts = model.components()
    configs: dict[str, Any] = {
        "clip": parts["clip"].config.to_dict(),
        "spatial_encoder": {"conditioning_channels": (8, 8)},
        "visual_encoder": parts["visual_encoder"].config,
    }
    configs |= {
        name: {key: value for key, value in parts[name].config.items() if not key.startswith("_")}
        for name in ("unet", "vae", "scheduler")
    }
    fresh = InterLCM.untrained(configs, tiny.IMAGE_SIZE).eval()
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in fresh.state_dict().items()} == shapes
    assert fresh.restore(tiny.faces(1)).isfinite().all()


def test_bfloat16_is_close_to_float32(model: InterLCM) -> None:
    lq = tiny.faces(2)
    half = tiny.model().to(torch.bfloat16).restore(lq, color_fix="none")
    full = model.restore(lq, color_fix="none")
    assert half.dtype == torch.float32
    error = (half - full).abs().mean() / full.std()
    assert 0 < error < 0.05


def test_garbage_is_collected_after_the_import() -> None:
    """The import of `interlcm.model` pauses the collector."""
    assert gc.isenabled()
