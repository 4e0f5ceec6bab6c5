"""torch.compile of the model in an actor on a GPU: once for all actors of a node, and without it where it fails."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from interlcm.device import LOST_DEVICE
from interlcm.errors import one_line
from interlcm.model import InterLCM

FOLDER = Path.home() / ".cache" / "interlcm" / "compiled"


def compile_model(model: InterLCM, trial: Callable[[], object], folder: Path = FOLDER, **options: Any) -> bool:
    """Compile the model's large networks, which takes minutes; whether this worked.

    trial: restores a micro-batch of the size of all later ones; the networks are compiled for this shape. folder: of
    compiled code. Actors of a node take turns, so that one compiles and the others find its code there. options: of
    torch.compile.

    If it does not work, one line says why, and the model stays as it was. Code that costs the process its GPU is not
    tried again on this node: the process ends, and the next one finds a file that says so.
    """
    failed = folder / f"failed-{torch.__version__}"
    try:
        if failed.exists():
            raise RuntimeError(f"{one_line(failed.read_text())}; to try again, delete {failed}")
        keep_in(folder)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            model.compile_networks(**options)
            trial()
        return True
    except LOST_DEVICE as error:
        failed.write_text(f"compiled code lost the GPU: {one_line(error)}\n")
        os._exit(1)
    except Exception as error:  # of any kind: compilers, their caches, drivers and disks all fail in ways of their own
        model.run_eagerly()
        words = f"the model is not compiled and about a quarter slower: {type(error).__name__}: {one_line(error)}"
        print(f"warning: {words[:1000]}", file=sys.stderr, flush=True)
        return False


def keep_in(folder: Path) -> None:
    """Compiled code of this process is kept in this folder. PyTorch's own is one in /tmp that anybody could have made
    before. Its modules set the variable when they are imported, so a user's choice cannot be told from theirs."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
