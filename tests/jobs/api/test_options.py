"""The keywords are the options of `interlcm restore`: the same names, choices and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from inspect import signature
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from jobs.api.options import BOUNDS, TYPES, choices, resources_of, settings_of
from jobs.options import FORMATS
from jobs.restore import restore
from pipeline.cluster import connect as cluster
from pipeline.config.limits import Limits
from pipeline.config.settings import Review, Settings

HINTS = get_type_hints(restore, include_extras=True)
# Options of the command that say where it works, on what, and what it does besides restoring.
OF_A_RUN = {
    *("sources", "output", "actors", "engine", "gpus_per_actor", "batch_faces", "where", "sample", "dry_run"),
    *("price_per_hour", "detect_gpus", "drivers", "every_photo", "names", "no_credentials"),
    *("config", "strict", "as_json", "save_faces", "zip_names", "weights"),
}


def test_names_are_those_of_the_command() -> None:
    assert set(TYPES) == HINTS.keys() - OF_A_RUN - {"return"}


@pytest.mark.parametrize("name", sorted(TYPES.keys() - {"upscale"}))  # whose values the command checks by itself
def test_values_are_those_of_the_command(name: str) -> None:
    kind, about = get_args(HINTS[name])
    if name == "steps":
        assert choices(name) == list(range(about.min, about.max + 1))
        return
    listed = list(FORMATS) if name == "format" else []  # the command also takes jpg and tif
    assert choices(name) == (list(get_args(kind)) if get_origin(kind) is Literal else listed)
    low, high = BOUNDS.get(name, (None, None))
    assert (about.min, about.max or math.inf if about.min is not None else None) == (low, high)


def test_defaults_are_those_of_the_command() -> None:
    parameters = signature(restore).parameters
    typed = {name: parameters[name].default for name in TYPES if hasattr(Settings(), name)}
    found = settings_of("demo", {})
    assert {name: getattr(found, name) for name in typed} == typed | {"steps": 0, "review": Review()}
    assert found.limits == Limits()


def test_jpg_and_tif_are_other_names() -> None:
    given: list[Any] = [{"format": "jpg"}, {"format": "tif"}]
    assert [settings_of("demo", options).format for options in given] == ["jpeg", "tiff"]


def test_thresholds_replace_single_values() -> None:
    found = settings_of("demo", {"review": {"min_psnr": 20}, "limit": {"seconds": 120}, "upscale": 2, "steps": None})
    assert found == Settings(
        weights="demo",
        dtype="auto",
        upscale=2,
        review=replace(Review(), min_psnr=20),
        limits=replace(Limits(), seconds=120),
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"upscales": 2}, "upscales: no such option; there are task, steps"),
        ({"upscale": 3}, "upscale=3: give one of 1, 2, 4"),
        ({"format": "gif"}, "format='gif': give one of 'source', 'jpeg'"),
        ({"quality": 101}, "quality=101: give 1 or more, at most 100"),
        ({"background": "realesrgan"}, "give upscale=2 or 4"),
        ({"review": {"min_psnrs": 1}}, "review={'min_psnrs': ...}: there are min_psnr, max_delta_e"),
        ({"limit": {"pixels": 0}}, "limit={'pixels': 0}: give at least 1"),
        ({"task": "colorize"}, "give faces_only=True"),
    ],
)
def test_a_wrong_option_is_refused_in_a_line(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match="^[^\n]*$") as refused:
        settings_of("demo", options)
    assert words in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no GPU here"):
        resources_of("cuda")
    assert resources_of(None) == resources_of("cpu")


def test_an_actor_of_ray_works_on_its_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert resources_of("cpu").threads == cluster.cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # by Ray, for an actor with num_cpus=1
    assert resources_of("cpu").threads == 1
