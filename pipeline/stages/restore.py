"""Third stage, restore: aligned crops to restored crops, on GPU or CPU actors that each hold the model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from interlcm.color_fix import keep_tone
from interlcm.device import place, upload
from interlcm.pixels import to_pixels, to_tensor
from interlcm.tasks import TASKS
from interlcm.weights_index import WeightsError
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.networks import micro_batch as networks_micro_batch
from pipeline.networks.facexlib import PARSER, FaceNetworks, has_parser
from pipeline.networks.real_esrgan import Background
from pipeline.photos import bit_depth
from pipeline.sandbox import parent as sandbox
from pipeline.stages import row
from pipeline.stages.row import Crops, Row, crops_of, to_table
from pipeline.weights.local import checked_weights

# A CUDA error after which the process has lost its context. Older versions of PyTorch raise a plain RuntimeError.
LOST_DEVICE: tuple[type[Exception], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()


@dataclass(frozen=True)
class RestoredFace:
    """A restored crop (S, S, 3), its parsing mask (S, S) or None, and the measures of the networks that are there."""

    crop: Crops
    mask: npt.NDArray[np.uint8] | None
    measures: dict[str, float]


class RestoreFaces:
    """Actor: flattens the crops of many photos into full micro-batches and returns the results to their photos.

    Every micro-batch of an actor has the same size; the last one is padded. So a face's result is the same to the bit,
    whatever the other faces in its batch. On a CPU the size is one: a batch of 8 takes 1.2 times as long per face.
    Tone and judges see a micro-batch where it is, on the device; crops and opinions are then copied back once.

    judged: whether the networks of the weights' face/ folder judge the faces.
    """

    def __init__(self, job: Job, resources: Resources, judged: bool = True) -> None:
        from interlcm.model import InterLCM  # late: the driver imports this module but never makes an actor

        job.environment.use()
        telemetry.label(job.output, job.number)
        self.settings = settings = job.settings
        on_gpu = resources.gpus_per_actor > 0
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.batch_faces = resources.batch_faces if on_gpu else 1
        if not on_gpu:
            torch.set_num_threads(resources.threads)
        parts = checked_weights(job)
        if settings.mask == "parsenet" and not has_parser(parts):
            raise WeightsError(f"the parsenet mask needs {parts.folder / PARSER}: pull it, or choose the ellipse")
        dtype = getattr(torch, settings.dtype)
        self.model = place(InterLCM.from_pretrained(parts, settings.variant), self.device, dtype)
        self.judge = FaceNetworks(parts if judged else None, self.device)
        self.background = None
        if settings.background == "realesrgan" and settings.upscale > 1:
            self.background = Background(parts, settings.upscale, self.device)
        if on_gpu and resources.find_batch:
            self.batch_faces = self.largest_batch(resources, job.weights_digest)

    def largest_batch(self, resources: Resources, weights_digest: str) -> int:
        """The largest micro-batch that fits this kind of GPU; an actor with a share of a GPU tries only its share."""
        if resources.gpus_per_actor < 1:
            torch.cuda.set_per_process_memory_fraction(resources.gpus_per_actor)
        about = {
            "gpu": torch.cuda.get_device_name(),
            "memory": torch.cuda.get_device_properties(0).total_memory,
            "gpus_per_actor": resources.gpus_per_actor,
            "weights_digest": weights_digest,
            "dtype": self.settings.dtype,
            "torch": torch.__version__,
            "most": resources.batch_faces,
        }
        return networks_micro_batch.largest(self.fits, about, resources.batch_faces)

    def fits(self, faces: int) -> bool:
        """Whether memory suffices for this many faces; tried with grey crops."""
        self.batch_faces = faces
        side = self.model.image_size
        done = self.attempt([np.full((side, side, 3), 127, np.uint8)], [0], [True], [1.0]) is not None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return done

    def __call__(self, table: pa.Table) -> pa.Table:
        # The files pass through unchanged: copying them out of Arrow and back takes longer than a GPU needs for a face.
        rows = (table if self.background else table.drop_columns("data")).to_pylist()
        waiting = [current for current in rows if current["status"] is None]
        begun = time.perf_counter()
        restored = self.restore(
            [crop for current in waiting for crop in crops_of(current, "crops")],
            [one["seed"] for current in waiting for one in current["faces"]],
            [current["monochrome"] for current in waiting for one in current["faces"]],
            [one["strength"] for current in waiting for one in current["faces"]],
        )
        per_face = (time.perf_counter() - begun) / max(len(restored), 1)
        coming = iter(restored)
        made = to_table([self.next_of(coming, current, per_face) for current in rows], "restore")
        return made.set_column(made.column_names.index("data"), made.schema.field("data"), table["data"])

    def next_of(self, coming: Iterator[RestoredFace | None], current: Row, per_face: float) -> Row:
        """The row with its restored crops, the next of `coming`; a row that has a status stays as it is."""
        if current["status"] is not None:
            return current
        restored = list(islice(coming, len(current["faces"])))
        whole = [crop for crop in restored if crop is not None]
        if len(whole) < len(restored):
            words = "not enough memory to restore one face at a time; use a larger GPU, or --gpus-per-actor 1"
            return row.ended(current, "failed", "out_of_memory", words)
        return row.guarded(current, partial(self.finish, restored=whole, seconds=per_face * len(restored)))

    def restore(
        self, crops: Sequence[Crops], seeds: Sequence[int], monochrome: Sequence[bool], strengths: Sequence[float] = ()
    ) -> list[RestoredFace | None]:
        """Aligned crops, each (S, S, 3) uint8 or uint16 sRGB, to restored crops of the same shape and type.

        monochrome: whether a crop's whole photo has one tone. strengths: the measures are those of a face blended with
        its input by this share, as it will be published; none: of the restored face alone. If memory does not suffice,
        the actor halves its batch; None: memory does not suffice for a single face.
        """
        restored: list[RestoredFace | None] = []
        while len(restored) < len(crops):
            batch = range(len(restored), min(len(restored) + self.batch_faces, len(crops)))
            begun = time.perf_counter()
            shares = [strengths[n] for n in batch] if strengths else [1.0] * len(batch)
            result = self.attempt(
                [crops[n] for n in batch], [seeds[n] for n in batch], [monochrome[n] for n in batch], shares
            )
            if result is not None:
                telemetry.micro_batch(len(batch), self.batch_faces, time.perf_counter() - begun)
                restored += result
                continue
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if self.batch_faces == 1:
                restored.append(None)
            self.batch_faces = max(1, self.batch_faces // 2)
        return restored

    def attempt(
        self, crops: list[Crops], seeds: list[int], monochrome: list[bool], strengths: list[float]
    ) -> list[RestoredFace] | None:
        """Restore and judge at most `batch_faces` faces, padded to that number; None if memory runs out."""
        missing = self.batch_faces - len(crops)
        padded = crops + crops[-1:] * missing
        try:
            lq = self.tensors(padded)
            made = self.micro_batch(lq, seeds + seeds[-1:] * missing)
            if TASKS[self.settings.task].keep_tone and any(monochrome):
                toned = upload(torch.tensor(monochrome + monochrome[-1:] * missing), self.device)
                made = torch.where(toned[:, None, None, None], keep_tone(made, lq), made)
            shown = self.blended(lq, made, strengths + strengths[-1:] * missing)
            return self.collected(lq, made, shown, [crop.dtype for crop in padded])[: len(crops)]
        except Exception as error:
            if isinstance(error, LOST_DEVICE):
                os._exit(1)  # no later call can succeed; a new worker takes these photos one by one
            if not out_of_memory(error):
                raise
            return None

    def micro_batch(self, lq: Tensor, seeds: list[int]) -> Tensor:
        """The model's result (N, 3, S, S) for crops (N, 3, S, S), both about [-1, 1]."""
        return self.model.restore(
            lq,
            steps=self.settings.steps,
            seeds=seeds,
            color_fix=self.settings.color_fix,
            keep_monochrome=False,  # `attempt` keeps the tone if the whole photo is monochrome
        )

    def blended(self, lq: Tensor, made: Tensor, strengths: list[float]) -> Tensor:
        """The faces (N, 3, S, S) as the photo will show them."""
        if all(share == 1 for share in strengths):
            return made
        return lq + upload(torch.tensor(strengths), self.device)[:, None, None, None] * (made - lq)

    def collected(self, lq: Tensor, made: Tensor, shown: Tensor, types: list[np.dtype]) -> list[RestoredFace]:
        """The faces on the host. The judges are started first: the device works on while the host waits for crops."""
        parsed = self.settings.mask == "parsenet" and not self.settings.aligned
        opinions = self.judge.judge(lq, self.rounded(shown, types), parsed)
        crops = crops_from(made, types)
        masks, measures = opinions.on_host()
        return [
            RestoredFace(crop, None if masks is None else masks[n], measures[n] if measures else {})
            for n, crop in enumerate(crops)
        ]

    def rounded(self, made: Tensor, types: list[np.dtype]) -> Tensor:
        """The faces (N, 3, S, S) as the files will have them: in [-1, 1], in steps of their type."""
        steps = [np.iinfo(kind).max / 2 for kind in types]
        if len(set(types)) == 1:
            return ((made.clamp(-1, 1) + 1) * steps[0]).round() / steps[0] - 1
        half = upload(torch.tensor(steps), self.device)[:, None, None, None]
        return ((made.clamp(-1, 1) + 1) * half).round() / half - 1

    def finish(self, current: Row, restored: list[RestoredFace], seconds: float) -> Row:
        """The row of one photo with its restored crops, their masks and measures, and the enlarged background."""
        begun = time.perf_counter()
        masks = [face.mask for face in restored if face.mask is not None]
        return {
            **current,
            "faces": [{**one, **face.measures} for one, face in zip(current["faces"], restored, strict=True)],
            "restored_crops": np.stack([face.crop for face in restored]).tobytes(),
            "masks": np.stack(masks).tobytes() if masks else None,
            "background": None if self.background is None else self.enlarged(current, self.background),
            "seconds_restore": seconds + time.perf_counter() - begun,
        }

    def enlarged(self, current: Row, background: Background) -> bytes:
        """The whole photo, enlarged by the background network, as a PNG in 8-bit sRGB. Raises PhotoError."""
        from pipeline.photos.view import view_of  # late: decoding needs libvips, restoring aligned crops does not

        limits = self.settings.limits
        telemetry.decoded("restore")
        srgb = sandbox.run(view_of, current["data"], limits, limits=limits).srgb
        assert srgb is not None  # after detect, every file has one page
        large = background.enlarge(bit_depth.eight_bit(srgb))
        _, png = cv2.imencode(".png", cv2.cvtColor(large, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return png.tobytes()

    def tensor(self, crop: Crops) -> Tensor:
        """(S, S, 3) uint8 or uint16 to (3, S, S) in [-1, 1], on the device."""
        return self.tensors([crop])[0]

    def tensors(self, crops: Sequence[Crops]) -> Tensor:
        """(S, S, 3) uint8 or uint16 each, to (N, 3, S, S) in [-1, 1] on the device; one copy per run of one depth."""
        runs = [list(run) for _, run in groupby(crops, key=lambda crop: crop.dtype)]
        return torch.cat([to_tensor(np.stack(run), self.device) for run in runs])


def out_of_memory(error: Exception) -> bool:
    """Whether the GPU or the machine ran out of memory; PyTorch has no error class for the latter."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def crops_from(faces: Tensor, types: Sequence[np.dtype]) -> list[Crops]:
    """The first N faces of (M, 3, S, S), about [-1, 1], as (S, S, 3) of N types; one copy to the host per type."""
    levels = {kind: to_pixels(faces, kind) for kind in set(types)}
    return [levels[kind][n] for n, kind in enumerate(types)]
