"""The share of the cluster that a run uses."""

import math
from dataclasses import dataclass, replace

# For each finder: several share a card, since each waits for its decoder most of the time. Not measured on a GPU.
DETECT_GPUS = 0.25


@dataclass(frozen=True)
class Resources:
    """The share of the cluster that a run uses. No result depends on it, but for the number of threads on a CPU, which
    can move a value by one level (docs/limits.md).

    Attributes:
        min_actors, max_actors: restore actors, each with the whole model.
        gpus_per_actor: GPUs (a fraction is fine) for each; 0 restores on the CPU.
        batch_faces: faces in one micro-batch of the model, fewer where a GPU's memory is short; on a CPU one, which is
            faster there.
        find_batch: an actor looks for the largest micro-batch up to `batch_faces` that fits its GPU, before it starts.
        threads: CPU threads of an actor that restores on the CPU.
        find_gpus: GPUs for each actor that finds faces; 0 finds them on the CPU.
    """

    min_actors: int = 1
    max_actors: int = 1
    gpus_per_actor: float = 0.0
    batch_faces: int = 1
    threads: int = 1
    find_batch: bool = False
    find_gpus: float = 0.0

    @property
    def find_device(self) -> str:
        return "cuda" if self.find_gpus else "cpu"

    def spare_gpus(self, gpus: float) -> int:
        """How many of a cluster's GPUs its restore actors leave whole, however they are spread."""
        each = self.gpus_per_actor
        if not each:  # restoring on the CPU was asked for
            return 0
        taken = math.ceil(self.max_actors * each) if each >= 1 else math.ceil(self.max_actors / int(1 / each))
        return max(0, int(gpus) - taken)

    def with_finders(self, detector: str, gpus: float) -> "Resources":
        """Faces are found on the GPUs that restore actors leave, by a RetinaFace; Haar cascades have no use for one."""
        room = detector.startswith("retinaface") and self.spare_gpus(gpus) > 0
        return replace(self, find_gpus=DETECT_GPUS if room else 0.0)
