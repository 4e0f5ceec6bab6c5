"""Choose engine, actors and micro-batches for the machines at hand."""

import math

import typer

from pipeline.cluster import connect as cluster
from pipeline.config.resources import Resources
from pipeline.networks import micro_batch


def actor_range(text: str) -> tuple[int, int]:
    """'4' -> (4, 4), '2:16' -> (2, 16), '' -> (0, 0), which means a number that suits the machine."""
    low, _, high = text.partition(":")
    try:
        bounds = (int(low), int(high or low)) if text else (0, 0)
    except ValueError:
        bounds = (-1, -1)
    if text and not 1 <= bounds[0] <= bounds[1]:
        raise typer.BadParameter(f"--actors {text}: give a number such as 4, or MIN:MAX such as 2:16")
    return bounds


def batch_of(text: str) -> int | None:
    """'8' -> 8, 'auto' -> None."""
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise typer.BadParameter(f"--batch-faces {text}: give a number such as 8, or auto")
    return None if text == "auto" else int(text)


def plan(
    actors: tuple[int, int],
    gpus_per_actor: float | None,
    batch_faces: int | None,
    detect_gpus: int | None = None,
    drivers: int = 1,
) -> Resources:
    """By default one actor per GPU, or one actor on the CPU; actors on the CPU share the machine's cores."""
    gpus = cluster.gpus()
    each = (1.0 if gpus else 0.0) if gpus_per_actor is None else gpus_per_actor
    # The GPU nodes of a joined cluster may not have started yet.
    if each > gpus and not cluster.joined():
        raise typer.BadParameter(f"--gpus-per-actor {each:g}: GPUs in the cluster: {gpus:g}; give 0 to use the CPU")
    default = max(1, int(gpus / each)) if each else 1
    low, high = actors if actors != (0, 0) else (default, default)
    if drivers > high:
        raise typer.BadParameter(f"--drivers {drivers}: each needs an actor; give --actors {drivers} or more")
    threads = max(1, cluster.cores() // high)
    if not each:
        return Resources(low, high, each, 1, threads, detect_gpus=detect_gpus, drivers=drivers)
    faces, find = batch_faces or micro_batch.MOST, batch_faces is None
    return Resources(low, high, each, faces, threads, find_batch=find, detect_gpus=detect_gpus, drivers=drivers)


def in_words_of(resources: Resources) -> str:
    low, high = resources.min_actors, resources.max_actors
    device = f"{resources.gpus_per_actor:g} GPU each" if resources.gpus_per_actor else "on the CPU"
    drivers = f", {resources.drivers} drivers" if resources.drivers > 1 else ""
    return f"{low if low == high else f'{low} to {high}'}, {device}{drivers}"


def on_this_machine(photos: float) -> str:
    """What decides about the engine on this machine: its cores, and the number of photos from which it uses Ray."""
    cores = f"{cluster.cores()} cores"
    return cores if math.isinf(photos) else f"{cores}; Ray from {photos:.0f}"


# Number of photos from which a run on a machine with more than FEW_CORES uses Ray (docs/performance.md has the reason).
RAY_PHOTOS = 1000
FEW_CORES = 2  # on which Ray never pays back its start-up: both are busy without it
RAY_ARCHIVES = 64  # number of archives from which Ray builds the index: listing a tar keeps one core busy


def ray_from(engine: str, resources: Resources) -> tuple[float, str]:
    """The number of photos from which a run uses Ray, and the reason if the number does not matter."""
    several = resources.max_actors > 1
    if engine == "here" and several:
        raise typer.BadParameter(f"--engine here has one actor, not {resources.max_actors}; leave out --engine")
    if engine != "auto":
        return (0, "--engine ray") if engine == "ray" else (math.inf, "--engine here")
    if cluster.joined():
        return 0, "RAY_ADDRESS is set"
    if several:
        return 0, f"{resources.max_actors} actors"
    return (math.inf if cluster.cores() <= FEW_CORES else RAY_PHOTOS), ""
