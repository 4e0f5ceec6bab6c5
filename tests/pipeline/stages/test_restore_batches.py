"""Micro-batches of the restore stage: their sizes, two at once, memory that runs out, and what one costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interlcm.pixels import to_tensor
from pipeline.config.resources import Resources
from pipeline.stages import restore
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Crops, crops_of
from tests.support.crops import ROWS, restored, same
from tests.support.stages import job, rows_of


def short_of_memory(stage: RestoreFaces, most: int, error: Exception) -> list[int]:
    """Make the model raise for more than this many faces at once; returns the sizes of its calls."""
    real, sizes = stage.model.restore, []

    def restore(lq: torch.Tensor, **options: Any) -> torch.Tensor:
        sizes.append(len(lq))
        if len(lq) > most:
            raise error
        return real(lq, **options)

    stage.model.restore = restore  # type: ignore[method-assign,assignment]
    return sizes


def test_batches_of_other_sizes_agree_to_one_level(stage: Any) -> None:
    one, other = stage(), stage()
    assert one.batch_faces == 1  # on a CPU
    other.batch_faces = 5
    for mine, theirs in zip(restored(rows_of(one, ROWS)), restored(rows_of(other, ROWS)), strict=True):
        # A sum in a different order can move a value across the middle between two levels.
        np.testing.assert_allclose(mine.astype(int), theirs.astype(int), atol=1)


def test_the_next_micro_batch_begins_before_the_last_one_is_taken(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the same bytes; never more than two micro-batches begun; and the host finishes photos in between."""
    expected = rows_of(stage(), ROWS)
    actor, events = stage(), list[str]()
    actor.overlaps = True

    def noted(name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            events.append(name)
            return real(*args, **options)

        return call

    for name in ("launched", "landed", "finish"):
        monkeypatch.setattr(actor, name, noted(name[:3], getattr(actor, name)))
    found = rows_of(actor, ROWS)
    assert same(restored(found), restored(expected))
    assert [face for row in found if row["status"] is None for face in row["faces"]] == [
        face for row in expected if row["status"] is None for face in row["faces"]
    ]
    assert " ".join(events) == ("lau lau lan lau lan fin lau lan fin lau lan lau lan lau lan lau lan lan fin")
    assert all(row["seconds_restore"] > 0 for row in found if row["status"] is None)


def test_memory_that_runs_out_later_halves_micro_batches_that_overlap(stage: Any) -> None:
    expected, actor = rows_of(stage(), ROWS), stage()
    actor.batch_faces, actor.overlaps = 4, True
    real, sizes = actor.model.restore, list[int]()

    def short(lq: torch.Tensor, **options: Any) -> torch.Tensor:
        sizes.append(len(lq))
        if len(sizes) in (2, 3):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(lq, **options)

    actor.model.restore = short
    found = rows_of(actor, ROWS)
    assert sizes == [4, 4, 2, 1, 1, 1, 1]  # four faces are in flight when the next four do not fit
    for mine, theirs in zip(restored(found), restored(expected), strict=True):
        np.testing.assert_allclose(mine.astype(int), theirs.astype(int), atol=1)
    actor.model.restore = real
    short_of_memory(actor, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        rows_of(actor, ROWS)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_micro_batch(stage: Any, error: Exception) -> None:
    expected = rows_of(stage(), ROWS)
    actor = stage()
    actor.batch_faces = 8
    sizes = short_of_memory(actor, 2, error)
    found = rows_of(actor, ROWS)
    assert sizes == [8, 4, 2, 2, 2, 2]  # 8 faces; it keeps the size that worked
    for after, before in zip(found, expected, strict=True):
        assert (after["photo_id"], after["status"]) == (before["photo_id"], before["status"])
        if after["status"] is None:
            difference = crops_of(after, "restored_crops").astype(int) - crops_of(before, "restored_crops")
            assert abs(difference).max() <= 1
    assert len(rows_of(actor, ROWS[:1])) == 1 and sizes[6:] == [2]


def test_a_photo_for_which_memory_never_suffices_is_recorded(stage: Any) -> None:
    actor = stage()
    actor.batch_faces = 4
    short_of_memory(actor, 0, torch.OutOfMemoryError("CUDA out of memory."))
    found = rows_of(actor, ROWS)
    assert [row["error_type"] for row in found] == ["out_of_memory", "member_unreadable", *["out_of_memory"] * 2]
    assert all(row["status"] == "failed" and row["crops"] is None for row in found)


def test_another_error_of_the_model_is_not_taken_for_it(stage: Any) -> None:
    actor = stage()
    short_of_memory(actor, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        rows_of(actor, ROWS)


def test_nothing_is_compiled_on_a_cpu(tmp_path: Path, tiny_weights: str) -> None:
    """Replaying a long run of a GPU here, for example."""
    stage = RestoreFaces(job(tmp_path, tiny_weights), Resources(compiled=True, find_gpus=0.25))
    assert [one._compiled_call_impl for one in stage.model.large_networks()] == [None] * 4 and not stage.overlaps


def test_what_a_micro_batch_costs(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, not seconds: 8 faces by threes are three calls of the model, each with one embedding of the crops, three
    evaluations, and one copy of all crops to the device."""
    actor, calls = stage(), Counter[str]()
    actor.batch_faces = 3
    parts = {name: getattr(actor.model, name) for name in ("unet", "clip", "spatial_encoder")}
    parts |= {"encoder": actor.model.vae.encoder, "decoder": actor.model.vae.decoder}
    parts["embedding"] = actor.model.spatial_encoder.controlnet_cond_embedding
    for name, part in parts.items():
        part.register_forward_hook(lambda *_, name=name: calls.update([name]))
    copied: list[int] = []

    def counted(crops: Crops, device: torch.device) -> torch.Tensor:
        copied.append(len(crops))
        return to_tensor(crops, device)

    monkeypatch.setattr(restore, "to_tensor", counted)
    rows_of(actor, ROWS)
    each = {"unet": 9, "spatial_encoder": 9, "embedding": 3, "clip": 3, "encoder": 3, "decoder": 3}
    assert calls == each
    assert copied[:3] == [3, 3, 3]
