"""How much of the cluster a run uses. Results do not depend on this."""

import math
from dataclasses import dataclass, replace

# For each detector: several share a GPU, since each mostly waits for its decoder. Not measured on a GPU.
DETECT_GPUS = 0.25


@dataclass(frozen=True)
class Resources:
    """How much of the cluster a run uses. Only the number of threads on a CPU changes results: it can move a value by
    one level (docs/limits.md).

    Attributes:
        min_actors, max_actors: number of restore actors, each with the whole model.
        gpus_per_actor: GPUs for each restore actor, possibly a fraction; 0 restores on the CPU.
        batch_faces: faces in one micro-batch of the model; fewer if a GPU's memory is short. On a CPU it is one, which
            is faster there.
        find_batch: before it starts, each actor finds the largest micro-batch up to `batch_faces` that fits its GPU.
        threads: CPU threads of an actor that restores on the CPU.
        find_gpus: GPUs for each detect actor; 0 detects on the CPU.
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
        """How many of a cluster's GPUs the restore actors leave free, however they are spread."""
        each = self.gpus_per_actor
        if not each:  # the user chose to restore on the CPU
            return 0
        taken = math.ceil(self.max_actors * each) if each >= 1 else math.ceil(self.max_actors / int(1 / each))
        return max(0, int(gpus) - taken)

    def with_finders(self, detector: str, gpus: float) -> "Resources":
        """A RetinaFace detector gets the GPUs that restore actors leave free; the other detectors use no GPU."""
        room = detector.startswith("retinaface") and self.spare_gpus(gpus) > 0
        return replace(self, find_gpus=DETECT_GPUS if room else 0.0)
