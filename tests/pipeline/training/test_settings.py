"""Presets for training the encoders: the published ones, and errors in others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from interlcm.degradation import PUBLISHED, PUBLISHED_LARGE
from interlcm.errors import TrainingError
from interlcm.recipe import Recipe
from interlcm.weights_index import PUBLISHED_VARIANTS
from jobs.train import read_preset
from pipeline.training.settings import TrainingSettings
from tests.support.training_runs import PRESET


@pytest.mark.parametrize("variant", PUBLISHED_VARIANTS)
def test_published_variants_have_a_preset(variant: str) -> None:
    settings = TrainingSettings.from_preset(variant, read_preset(variant))
    about = PUBLISHED_VARIANTS[variant]
    assert (settings.variant, settings.task, settings.recipe.steps) == (variant, about["task"], max(about["steps"]))
    assert settings.recipe == Recipe(steps=settings.recipe.steps)  # everything else is the paper's
    assert settings.start == "new" and settings.flip == 0.5
    # The published configuration loads the second one but never uses it.
    listed = [replace(PUBLISHED, share=1), replace(PUBLISHED_LARGE, share=0)]
    assert list(settings.degradations) == (listed if settings.task == "restore" else [])


def test_small_preset_is_whole() -> None:
    settings = TrainingSettings.from_preset("small", read_preset("small"))
    assert settings.recipe.iterations <= 200 and settings.recipe.perceptual_weight == 0
    settings.check_workers(2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "test: there is no colour; there is variant, licence"),
        ({"recipe": {"speed": 1}}, "test: recipe: there is no speed"),
        ({"recipe": {"learning_rate": "5e-5"}}, "learning_rate is '5e-5', not a number; YAML wants 5.0e-5"),
        ({"recipe": {"steps": 9}}, "steps is 9; choose 2"),
        ({"recipe": {"precision": "half"}}, "precision is 'half'; choose bfloat16, float32"),
        ({"recipe": None}, "test: recipe: write one `name: value` on each line"),
        ({"degradations": None}, "degradations is a list"),
        ({"degradations": [{"fog": [1, 2]}]}, "degradations: there is no fog"),
        ({"task": "sing"}, "task is 'sing'; choose restore, colorize, inpaint"),
        ({"start": "anyhow"}, "start is 'anyhow'; choose new, variant"),
    ],
)
def test_what_is_wrong_is_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError) as caught:
        TrainingSettings.from_preset("test", {**PRESET, **change})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_missing_settings_are_named() -> None:
    with pytest.raises(TrainingError, match=r"missing 1 required.* argument: 'variant'"):
        TrainingSettings.from_preset("test", {name: value for name, value in PRESET.items() if name != "variant"})


def test_a_batch_that_cannot_be_shared() -> None:
    settings = TrainingSettings.from_preset("test", PRESET)
    settings.check_workers(2)
    with pytest.raises(TrainingError, match="batch 4 cannot be shared among 3 workers with micro_batch 1"):
        settings.check_workers(3)
