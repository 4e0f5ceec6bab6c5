"""What a dry run says: the cost of a run in words, from an estimate."""

from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.counted import counted
from jobs.times import in_words
from pipeline.config.resources import Prices, Resources

if TYPE_CHECKING:
    from pipeline.run.estimate import Estimate


def expected(found: "Estimate", resources: Resources, prices: Prices | None = None) -> str:
    """The estimated cost of a run, and the sample behind it."""
    sample, each = found.sample, resources.gpus_per_actor
    hours = f"{in_words(timedelta(hours=found.actor_hours))} of an actor"
    hours += f", {found.restore_gpu_hours(resources):.2f} GPU hours" if each else ", on the CPU"
    if sample.batch_faces > 1:
        hours += f" (micro-batches of {sample.batch_faces}, {found.fill:.0%} full)"
    said = [
        f"dry run: {counted(found.photos, 'file')} to restore, {found.bytes / 1e6:.1f} MB",
        f"sample: {counted(sample.photos, 'file')}, {counted(sample.faces, 'face')} "
        f"({sample.faces_per_photo:.2f} per file), restored but not written",
        f"restore: about {counted(round(found.faces), 'face')}, {found.seconds_per_face:.2f} s each: {hours}",
        *detectors(found),
        f"fetch, {'' if found.find_gpus else 'detect, '}publish: {in_words(timedelta(hours=found.cpu_hours))} of a CPU",
    ]
    for actors in sorted({resources.min_actors, resources.max_actors}):
        time = in_words(timedelta(hours=found.hours(actors)))
        said.append(f"with {counted(actors, 'actor')}: about {time}, and {found.cpus(actors):.1f} CPUs for the rest")
    if prices is not None:
        gpu, cpu = found.cost(resources, prices)
        said.append(f"cost: about {gpu + cpu:,.2f} (GPUs {gpu:,.2f}, CPUs {cpu:,.2f}), if no machine is idle")
    return "\n".join(said)


def detectors(found: "Estimate") -> list[str]:
    """The line of an estimate on detectors on GPUs, if that is where they are."""
    if not found.find_gpus:
        return []
    hours, all_of_them = timedelta(hours=found.detect_hours), timedelta(hours=found.detect_hours / found.detectors)
    return [
        f"detect: {in_words(hours)} of a detector, {found.detect_gpu_hours:.2f} GPU hours; "
        f"with {counted(found.detectors, 'detector')} at most: about {in_words(all_of_them)}"
    ]
