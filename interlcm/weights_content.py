"""What weights files hold: settings and tensors, and whether they fit a module. Every error is one line."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from transformers.utils import logging as transformers_logging

from interlcm.weights_index import WeightsError

NAMES_SHOWN = 3  # keys that an error names


def config_in(data: bytes, file: Path) -> dict[str, Any]:
    """The settings of a module. WeightsError for anything else: diffusers would look up a text on the network."""
    with one_line(file):
        config = json.loads(data)
        if not isinstance(config, dict):
            raise ValueError("it does not hold settings by name")
        return config


def tensors_in(data: bytes, file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, in float32.

    Each is copied, because safetensors leaves a tensor where Python's bytes happen to lie, and the last bit of a sum
    may depend on that alignment.
    """
    with one_line(file):
        state = load(data)
        for key in state:
            state[key] = state[key].to(torch.float32, copy=True)
    return state


def check_state(module: nn.Module, state: Mapping[str, torch.Tensor], file: Path) -> None:
    """WeightsError unless `state` has exactly the keys and shapes of `module`."""
    own = module.state_dict()
    check_keys(file, own.keys() - state.keys(), state.keys() - own.keys())
    wrong = [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        here, wanted = tuple(state[wrong[0]].shape), tuple(own[wrong[0]].shape)
        shapes = f"{named(wrong, 'key')} of a different shape ({here}, wanted {wanted})"
        raise WeightsError(f"{file} has {shapes}; it belongs to a different model; pull or convert it again")


def check_keys(source: Path, missing: Any, unexpected: Any) -> None:
    """Raise WeightsError, which counts missing and unexpected keys and names the first of each, if there are any."""
    found = [f"lacks {named(missing, 'key')}"] if missing else []
    found += [f"has {named(unexpected, 'unexpected key')}"] if unexpected else []
    if found:
        reason = " and ".join(found)
        raise WeightsError(f"{source} {reason}; it belongs to a different model; pull or convert it again")


def named(keys: Any, noun: str) -> str:
    """`2 keys (a, b)`, with `...` after the first few."""
    names = sorted(keys)
    shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
    return f"{len(names)} {noun}{'s' if len(names) != 1 else ''} ({shown})"


@contextmanager
def one_line(source: Path) -> Iterator[None]:
    """Turn a library's error about an unreadable part into one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{source} cannot be loaded ({reason}); pull or convert it again") from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars, and no reports about keys: `check_keys` turns those into errors."""
    levels = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(levels[0])
        transformers_logging.set_verbosity(levels[1])
        if bar:
            transformers_logging.enable_progress_bar()
