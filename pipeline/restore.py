"""Third stage: aligned crops to restored crops, on GPU actors or CPU actors that each hold the model."""

import time

import numpy as np
import pyarrow as pa
import torch

from pipeline.row import Crops, crops_of, to_table
from pipeline.settings import Job, Resources, checked_weights


class RestoreFaces:
    """Actor: the crops of many photos, flattened into full micro-batches and handed back to their photos."""

    def __init__(self, job: Job, resources: Resources) -> None:
        from interlcm.model import InterLCM  # here: the driver names this class and never makes one

        job.environment.use()
        self.settings, self.batch_faces = job.settings, resources.batch_faces
        if resources.gpus_per_actor == 0:
            torch.set_num_threads(resources.threads)
        self.device = torch.device("cuda" if resources.gpus_per_actor > 0 else "cpu")
        self.model = InterLCM.from_pretrained(checked_weights(job), job.settings.variant).to(self.device)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        waiting = [row for row in rows if row["status"] is None]
        if waiting:
            crops = np.concatenate([crops_of(row, "crops") for row in waiting])  # (faces of all photos, S, S, 3)
            seeds = [face["seed"] for row in waiting for face in row["faces"]]
            begun = time.perf_counter()
            restored = self.restore(crops, seeds)
            per_face = (time.perf_counter() - begun) / len(crops)
            start = 0
            for row in waiting:
                end = start + len(row["faces"])
                row |= {"restored_crops": restored[start:end].tobytes(), "seconds_restore": per_face * (end - start)}
                start = end
        return to_table(rows)

    def restore(self, crops: Crops, seeds: list[int]) -> Crops:
        """(faces, S, S, 3) uint8 RGB, aligned -> the same, restored; in micro-batches of `batch_faces`."""
        parts = []
        for start in range(0, len(crops), self.batch_faces):
            batch = torch.from_numpy(crops[start : start + self.batch_faces].copy())
            lq = batch.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1  # (n, 3, S, S) in [-1, 1]
            settings = self.settings
            result = self.model.restore(
                lq, steps=settings.steps, seeds=seeds[start : start + self.batch_faces], color_fix=settings.color_fix
            )
            pixels = ((result.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            parts.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)
