"""`interlcm train` with a preset that trains the encoders: progress and final message."""

import sys
import time
from collections.abc import Iterator
from shlex import quote
from typing import Any

import typer

from jobs.counted import counted
from jobs.progress import LOG_EVERY
from pipeline.cluster import connect as cluster


def train_encoders(
    preset: str,
    values: dict[str, Any],
    sources: list[str],
    output: str,
    weights: str,
    workers: int,
    unet: str | None,
) -> None:
    """Train the encoders by a preset; prints progress. workers: 0 for one on each GPU, or one on the CPU."""
    from pipeline.training import train as training
    from pipeline.training.settings import TrainingSettings

    settings = TrainingSettings.from_preset(preset, values)
    settings.check_workers(workers or 1)
    training.check_inputs(sources, output, weights, settings)
    cluster.connect(actors=workers or 1)
    gpus = cluster.gpus()
    workers = workers or max(1, int(gpus))
    if gpus and workers > gpus and not cluster.joined():  # a cluster's GPU nodes may not have started yet
        raise typer.BadParameter(f"--workers {workers}: GPUs of this machine: {gpus:g}; give no more workers")
    job = training.prepare(sources, output, weights, settings, unet)
    device = "one GPU each" if gpus else "on the CPU"
    print(f"train: {settings.variant}, {settings.recipe.iterations} iterations of {settings.recipe.batch} crops")
    print(f"workers: {workers}, {device}", flush=True)
    left_out = show(training.train(job, workers, gpus > 0), settings.recipe.iterations)
    for line in left_out:
        print(f"left out: {line}")
    result = f"{output.rstrip('/')}/weights"
    print(f"weights written to {result}; next: interlcm restore SOURCE --output RESTORED --weights {quote(result)}")


def show(reports: Iterator[dict[str, Any]], iterations: int) -> list[str]:
    """Show progress in one line, as `restore` does; returns the photos that could not be used."""
    terminal, last, left_out = sys.stdout.isatty(), float("-inf"), []
    for report in reports:
        line, left_out = progress_line(report, iterations), report["left_out"]
        if terminal:
            print(f"\r\x1b[K{line}", end="", flush=True)
        elif time.monotonic() - last >= LOG_EVERY or report["iteration"] == iterations:
            print(line, flush=True)
            last = time.monotonic()
    if terminal:
        print()
    return left_out


def progress_line(report: dict[str, Any], iterations: int) -> str:
    losses = ", ".join(f"{name} {value:.4f}" for name, value in report["losses"].items())
    psnr = "" if report["psnr"] is None else f", held-out PSNR {report['psnr']:.2f} dB"
    left_out = f", left out: {counted(len(report['left_out']), 'photo')}" if report["left_out"] else ""
    return f"train: {report['iteration']}/{iterations}, {losses}{psnr}, {report['seconds']:.2f} s each{left_out}"
