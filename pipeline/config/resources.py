"""How much of the cluster a run uses. Results hardly depend on this: `Resources` says where they do."""

import math
from dataclasses import dataclass, replace

# For each detector: several share a GPU, since each mostly waits for its decoder. Not measured on a GPU.
DETECT_GPUS = 0.25
# Most detectors for each restore actor of a cluster that may grow. A photo of 20 MB takes a detector most of a second,
# and a restore actor on a fast GPU about 15 photos a second. Ray starts only as many as have work.
DETECTORS_PER_ACTOR = 8


@dataclass(frozen=True)
class Prices:
    """Prices of an hour of one GPU, with its node, and of one CPU, in any currency."""

    gpu: float = 0.0
    cpu: float = 0.0


# When torch.compile pays for itself. It takes an actor COMPILE_SECONDS, counted generously for four networks that are
# compiled in minutes, and saves SAVED_SECONDS a face: on an H200, by the count of operations and the memory traffic of
# kernels, 46 faces/s become 61; slower GPUs save more. None of this was measured on a GPU; `make gpu-check` does.
COMPILE_SECONDS = 600.0
SAVED_SECONDS = 1 / 46 - 1 / 61
FACES_PER_PHOTO = 1.0  # of photos that nobody has looked at yet; archives of photos have about this many


@dataclass(frozen=True)
class Resources:
    """How much of the cluster a run uses. Results depend on two of these a little: the number of threads on a CPU can
    move a value by one level, and compiled networks round otherwise than others (docs/limits.md).

    Attributes:
        min_actors, max_actors: number of restore actors, each with the whole model.
        gpus_per_actor: GPUs for each restore actor, possibly a fraction; 0 restores on the CPU.
        batch_faces: faces in one micro-batch of the model; fewer if a GPU's memory is short. On a CPU it is one, which
            is faster there.
        find_batch: before it starts, each actor finds the largest micro-batch up to `batch_faces` that fits its GPU.
        threads: CPU threads of an actor that restores on the CPU.
        find_gpus: GPUs for each detect actor; 0 detects on the CPU.
        detectors: most detect actors; Ray starts one, and others while photos wait for them.
        detect_gpus: GPUs for all detect actors, by the user; None: those that restore actors leave free.
        compiled: actors on a GPU compile the model, and go on without if that fails.
        drivers: processes that each drive the chain of stages for a share of the photos, with a share of the actors.
    """

    min_actors: int = 1
    max_actors: int = 1
    gpus_per_actor: float = 0.0
    batch_faces: int = 1
    threads: int = 1
    find_batch: bool = False
    find_gpus: float = 0.0
    detectors: int = 1
    detect_gpus: int | None = None
    compiled: bool = False
    drivers: int = 1

    def shares(self) -> "list[Resources]":
        """What each driver has: its part of the actors and detectors, at least one of both."""
        return [
            replace(
                self,
                min_actors=max(1, part(self.min_actors, self.drivers, n)),
                max_actors=part(self.max_actors, self.drivers, n),
                detectors=max(1, part(self.detectors, self.drivers, n)),
                drivers=1,
            )
            for n in range(self.drivers)
        ]

    @property
    def find_device(self) -> str:
        return "cuda" if self.find_gpus else "cpu"

    def spare_gpus(self, gpus: float) -> int:
        """How many of a cluster's GPUs the restore actors leave free, however they are spread."""
        each = self.gpus_per_actor
        if not each:  # the user chose to restore on the CPU
            return 0
        taken = math.ceil(self.max_actors * each) if each >= 1 else math.ceil(self.max_actors / int(1 / each))
        return max(0, int(gpus) - taken)

    def with_detectors(self, detector: str, cpus: float, gpus: float, grows: bool) -> "Resources":
        """With the pool of detectors: their device and largest number.

        cpus, gpus: of the cluster as it is. grows: more nodes may come, for which the pool must not be too small.
        RetinaFace detectors use GPUs, if there are some for them; the others use half a CPU each.
        """
        spare = self.spare_gpus(gpus) if self.detect_gpus is None else self.detect_gpus
        if detector.startswith("retinaface") and spare:
            return replace(self, find_gpus=DETECT_GPUS, detectors=int(spare / DETECT_GPUS))
        most = max(1, int(cpus / 2))
        if grows:
            most = max(most, DETECTORS_PER_ACTOR * self.max_actors)
        return replace(self, find_gpus=0.0, detectors=most)

    def on_one_gpu(self, detector: str, gpus: float) -> "Resources":
        """On a single GPU, one RetinaFace detector takes a share of it beside the restore actor, which gets the rest.

        On several GPUs this might leave no GPU with enough room for a restore actor. A user's number of GPUs for
        detectors overrides it.
        """
        alone = gpus == self.max_actors == self.gpus_per_actor == 1 and self.detect_gpus is None
        if not alone or not detector.startswith("retinaface"):
            return self
        return replace(self, gpus_per_actor=1 - DETECT_GPUS, find_gpus=DETECT_GPUS, detectors=1)

    def with_compiler(self, photos: int) -> "Resources":
        """Actors on GPUs compile the model if so many photos pay for it."""
        saved = photos * FACES_PER_PHOTO / self.max_actors * SAVED_SECONDS
        return replace(self, compiled=self.gpus_per_actor > 0 and saved > COMPILE_SECONDS)


def part(whole: int, parts: int, number: int) -> int:
    """One of so many parts of a whole, as equal as whole numbers can be; number counts from 0."""
    return whole // parts + (number < whole % parts)
