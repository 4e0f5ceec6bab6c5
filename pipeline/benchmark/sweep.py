"""The model's speed at each micro-batch and dtype, and what channels-last memory and torch.compile add."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlcm import color_fix, schedule
from interlcm.device import place
from interlcm.model import InterLCM
from pipeline.benchmark.model import STEPS, Size, faces, peak, psnr, random_model, restart_peak, synchronise
from pipeline.networks.compiled import keep_in

DTYPES = ("float32", "bfloat16", "float16")
# 31: at 32 faces of 512 px a tensor of the VAE has exactly 2^31 elements, where CUDA kernels change to 64-bit indices.
SIZES = {"cuda": (1, 8, 16, 31, 32, 64), "cpu": (1, 2)}
COMPILED = "compiled"  # folder of compiled code, where the actor finds that of the sweep
COMPARED = 4  # faces whose PSNR to exact float32 is measured, at most
PARTS = ("CLIP", "VAE in", "steps", "VAE out", "colour")


def sweep(
    size: Size,
    device: torch.device,
    dtypes: Sequence[str],
    sizes: Sequence[int],
    count: int,
    folder: Path | None = None,
    backend: str = "inductor",
) -> Iterator[dict[str, Any]]:
    """One row for each dtype and micro-batch; then the fastest micro-batch of each dtype in other layouts, and compiled
    if there is a folder for compiled code.

    count: faces restored for a row, at least; a row's number is a multiple of its micro-batch. A row whose memory does
    not suffice says so, and larger micro-batches of that dtype are left out. backend: of torch.compile.
    """
    reference = exact(size, device, min(COMPARED, count))
    for name in dtypes:
        dtype = getattr(torch, name)
        model = place(random_model(size, device), device, dtype)  # afresh: each dtype rounds the same float32 weights

        def row(batch: int, note: str, model: InterLCM = model, name: str = name) -> dict[str, Any]:
            return {"dtype": name, "micro-batch": batch, "layout": note, **measured(model, device, batch, count)}

        rows: list[dict[str, Any]] = []
        for batch in sizes:
            made = row(batch, "channels last")
            yield compared(made, model, device, reference)
            if made["faces/s"] is None:
                break
            rows.append(made)
        if not rows:
            continue
        best = max(rows, key=lambda made: made["faces/s"])["micro-batch"]
        model.to(memory_format=torch.contiguous_format)
        yield compared(row(best, "channels first"), model, device, reference)
        if folder is not None:
            keep_in(folder / COMPILED)
            place(model, device, dtype).compile_networks(backend=backend)
            yield compared(row(best, "channels last, compiled"), model, device, reference)


def exact(size: Size, device: torch.device, count: int) -> Tensor:
    """The first faces (count, 3, S, S), restored in float32 without TF32, one at a time, on the CPU's side."""
    model, lq = random_model(size, device), faces(count, size.pixels)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return torch.cat([model.restore(one[None].to(device), STEPS, [n]).cpu() for n, one in enumerate(lq)])


def measured(model: InterLCM, device: torch.device, batch: int, count: int) -> dict[str, Any]:
    """Seconds and memory of a micro-batch, and milliseconds of its parts; empty columns if memory does not suffice."""
    lq, seeds, times = faces(batch, model.image_size), list(range(batch)), max(1, math.ceil(count / batch))
    columns = ("s/face", "faces/s", "PSNR dB", "first call s", "peak GB", "reserved GB")
    empty = dict[str, Any].fromkeys((*columns, *(f"{part} ms" for part in PARTS))) | {"note": "out of memory"}
    try:
        with torch.no_grad():  # as in a run: compiled code depends on it
            work = lambda: model.restore(lq.to(device), STEPS, seeds).cpu()  # noqa: E731
            begun = time.perf_counter()
            work()  # warms up: kernels are chosen, networks compiled
            first = time.perf_counter() - begun
            restart_peak(device)
            begun = time.perf_counter()
            for _ in range(times):
                work()
            seconds = (time.perf_counter() - begun) / (times * batch)
            most, kept = peak(device), reserved(device)
            parts = parts_of(model, lq.to(device), seeds)
    except (torch.OutOfMemoryError, MemoryError):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return empty
    each = {f"{part} ms": 1000 * taken / batch for part, taken in parts.items()}
    known = {"s/face": seconds, "faces/s": 1 / seconds, "first call s": first, "peak GB": most, "reserved GB": kept}
    return {**empty, **known, **each, "note": ""}


def parts_of(model: InterLCM, lq: Tensor, seeds: Sequence[int]) -> dict[str, float]:
    """Seconds of each part of `InterLCM.restore` for one micro-batch; the device is waited for after each part."""
    taken: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        synchronise(lq.device)
        begun = time.perf_counter()
        made = work()
        synchronise(lq.device)
        taken[part] = time.perf_counter() - begun
        return made

    def steps(prompt: Tensor, clean: Tensor) -> Tensor:
        later, given = schedule.timesteps(model.scheduler, STEPS)[1:], model.conditions(prompt, lq)
        noises = schedule.face_noise(seeds, clean.shape[1:], draws=len(later)).to(lq.device)
        for timestep, noise in zip(later, noises, strict=True):
            clean = model.evaluate(schedule.add_noise(model.scheduler, clean, noise, timestep), timestep, given)
        return clean

    prompt = timed("CLIP", lambda: model.prompt(lq))
    clean = timed("VAE in", lambda: model.encode(lq))
    clean = timed("steps", lambda: steps(prompt, clean))
    restored = timed("VAE out", lambda: model.decode(clean))
    timed("colour", lambda: color_fix.keep_monochrome(color_fix.wavelet(restored, lq), lq))
    return taken


def compared(row: dict[str, Any], model: InterLCM, device: torch.device, reference: Tensor) -> dict[str, Any]:
    """The row with its PSNR to exact float32, on the reference's faces, in the row's own micro-batches."""
    if row["faces/s"] is None:
        return row
    batch, count = row["micro-batch"], len(reference)
    lq = faces(count, model.image_size)
    places = list(range(count)) + [count - 1] * (-count % batch)  # padded, as in a run
    with torch.no_grad():
        made = [
            model.restore(lq[places[n : n + batch]].to(device), STEPS, places[n : n + batch]).cpu()
            for n in range(0, len(places), batch)
        ]
    return {**row, "PSNR dB": psnr(torch.cat(made)[:count], reference)}


def reserved(device: torch.device) -> float | None:
    """Peak GB that PyTorch has taken from the GPU since `restart_peak`; None on a CPU."""
    return torch.cuda.max_memory_reserved() / 1e9 if device.type == "cuda" else None
