"""Third stage, restore: aligned crops to restored crops, on GPU or CPU actors that each hold the model."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, groupby, islice, pairwise

import cv2
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from interlcm.color_fix import keep_tone
from interlcm.device import LOST_DEVICE, out_of_memory, place, upload
from interlcm.pixels import to_tensor
from interlcm.tasks import TASKS
from interlcm.weights_index import WeightsError
from pipeline.cluster import connect as cluster
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.networks.compiled import compile_model
from pipeline.networks.facexlib import FaceNetworks
from pipeline.networks.files import PARSER, has_parser
from pipeline.networks.micro_batch import largest_on_gpu
from pipeline.networks.real_esrgan import Background
from pipeline.photos import bit_depth
from pipeline.sandbox import parent as sandbox
from pipeline.stages import row
from pipeline.stages.in_flight import InFlight, RestoredFace, as_written
from pipeline.stages.row import Crops, Row, crops_of, to_table
from pipeline.weights.local import checked_weights


class RestoreFaces:
    """Actor: flattens the crops of many photos into full micro-batches and returns the results to their photos.

    Every micro-batch of an actor has the same size; the last one is padded. So a face's result is the same to the bit,
    whatever the other faces in its batch. On a CPU the size is one: a batch of 8 takes 1.2 times as long per face.
    Tone and judges see a micro-batch where it is, on the device; crops and opinions are then copied back once. A GPU
    is given its next micro-batch before the host takes the faces of the last one, so it never waits for the host.

    judged: whether the networks of the weights' face/ folder judge the faces.
    """

    def __init__(self, job: Job, resources: Resources, judged: bool = True) -> None:
        from interlcm.model import InterLCM  # late: some import this module and make no actor

        job.environment.use()
        telemetry.label(job.output, job.number)
        self.settings = settings = job.settings
        on_gpu = resources.gpus_per_actor > 0
        if on_gpu and not torch.cuda.is_available():
            raise cluster.ClusterError(
                f"{socket.gethostname()}: PyTorch {torch.__version__} finds no GPU that it can use; check nvidia-smi "
                f"there, in the container too, and that its driver has CUDA {torch.version.cuda} or newer"
            )
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.batch_faces = resources.batch_faces if on_gpu else 1
        self.overlaps = on_gpu
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
            about = {"weights_digest": job.weights_digest, "dtype": settings.dtype}
            # Without Ray, a detector in this process gets the memory that the actor leaves.
            share, keep = resources.gpus_per_actor, cluster.running()
            self.batch_faces = largest_on_gpu(self.fits, about, resources.batch_faces, share, keep)
        if on_gpu and resources.compiled:
            compile_model(self.model, self.tried)

    def fits(self, faces: int) -> bool:
        """Whether memory suffices for this many faces; tried with grey crops."""
        self.batch_faces = faces
        try:
            self.tried()
        except LOST_DEVICE:
            os._exit(1)
        except Exception as error:
            if not out_of_memory(error):
                raise
            return False
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def tried(self) -> list[RestoredFace]:
        """A grey face, restored in a micro-batch like any other."""
        side = self.model.image_size
        return self.launched([np.full((side, side, 3), 127, np.uint8)], [0], [True], [1.0]).land()

    def __call__(self, table: pa.Table) -> pa.Table:
        # The files pass through unchanged: copying them out of Arrow and back takes longer than a GPU needs for a face.
        rows = (table if self.background else table.drop_columns("data")).to_pylist()
        waiting = [current for current in rows if current["status"] is None]
        begun = time.perf_counter()
        coming = self.restore(
            [crop for current in waiting for crop in crops_of(current, "crops")],
            [one["seed"] for current in waiting for one in current["faces"]],
            [one["one_tone"] for current in waiting for one in current["faces"]],
            [one["strength"] for current in waiting for one in current["faces"]],
        )
        # A photo is finished when its last face is there; on a GPU, the device works on the next faces meanwhile.
        done = [self.next_of(coming, current) for current in rows]
        finishing = sum(current["seconds_restore"] for current in done if current["status"] is None)
        share = (time.perf_counter() - begun - finishing) / max(1, sum(len(current["faces"]) for current in waiting))
        made = to_table([with_share(current, share) for current in done], "restore")
        return made.set_column(made.column_names.index("data"), made.schema.field("data"), table["data"])

    def next_of(self, coming: Iterator[RestoredFace | None], current: Row) -> Row:
        """The row with its restored crops, the next of `coming`; a row that has a status stays as it is."""
        if current["status"] is not None:
            return current
        restored = list(islice(coming, len(current["faces"])))
        whole = [crop for crop in restored if crop is not None]
        if len(whole) < len(restored):
            words = "not enough memory to restore one face at a time; use a larger GPU, or --gpus-per-actor 1"
            return row.ended(current, "failed", "out_of_memory", words)
        return row.guarded(current, partial(self.finish, restored=whole))

    def restore(
        self, crops: Sequence[Crops], seeds: Sequence[int], monochrome: Sequence[bool], strengths: Sequence[float] = ()
    ) -> Iterator[RestoredFace | None]:
        """Aligned crops, each (S, S, 3) uint8 or uint16 sRGB, to restored crops of the same shape and type, in order.

        monochrome: whether a crop has one tone, which it keeps. strengths: the measures are those of a face blended
        with its input by this share, as it will be published; none: of the restored face alone. None comes where
        memory does not suffice for a single face.
        """
        flights, landed = self.flights(crops, seeds, monochrome, strengths or [1.0] * len(crops)), 0.0
        if self.overlaps:  # each micro-batch lands when the next one has been started
            flights = (flying for flying, _ in pairwise(chain(flights, [None])))
        for flying in flights:
            if flying is None:
                yield None
                continue
            faces = self.landed(flying)
            before, landed = max(flying.begun, landed), time.perf_counter()
            telemetry.micro_batch(len(faces), flying.places, landed - before)
            yield from faces

    def flights(
        self, crops: Sequence[Crops], seeds: Sequence[int], monochrome: Sequence[bool], strengths: Sequence[float]
    ) -> Iterator[InFlight | None]:
        """The micro-batches, each started. If memory does not suffice, the actor halves its micro-batch; None: it does
        not suffice for a single face."""
        begun = 0
        while begun < len(crops):
            batch = slice(begun, begun + self.batch_faces)
            flying = self.started(crops[batch], seeds[batch], monochrome[batch], strengths[batch])
            if flying is None and self.batch_faces > 1:
                self.batch_faces //= 2
                continue
            begun = batch.stop
            yield flying

    def started(
        self, crops: Sequence[Crops], seeds: Sequence[int], monochrome: Sequence[bool], strengths: Sequence[float]
    ) -> InFlight | None:
        """`launched`, or None if memory runs out."""
        try:
            return self.launched(crops, seeds, monochrome, strengths)
        except LOST_DEVICE:
            os._exit(1)  # no later call can succeed; a new worker takes these photos one by one
        except Exception as error:
            if not out_of_memory(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def landed(self, flying: InFlight) -> list[RestoredFace]:
        try:
            return flying.land()
        except LOST_DEVICE:
            os._exit(1)

    def launched(
        self, crops: Sequence[Crops], seeds: Sequence[int], monochrome: Sequence[bool], strengths: Sequence[float]
    ) -> InFlight:
        """Start to restore and judge at most `batch_faces` faces, padded to that number. A GPU works on after this."""
        begun = time.perf_counter()
        missing = self.batch_faces - len(crops)
        padded = [*crops, *[crops[-1]] * missing]
        types = [crop.dtype for crop in padded]
        lq = self.tensors(padded)
        made = self.micro_batch(lq, [*seeds, *[seeds[-1]] * missing])
        if TASKS[self.settings.task].keep_tone and any(monochrome):
            toned = upload(torch.tensor([*monochrome, *[monochrome[-1]] * missing]), self.device)
            made = torch.where(toned[:, None, None, None], keep_tone(made, lq), made)
        parsed = self.settings.mask == "parsenet" and not self.settings.aligned
        shown = self.blended(lq, made, [*strengths, *[strengths[-1]] * missing])
        opinions = self.judge.judge(lq, as_written(shown, types), parsed)
        return InFlight.of(made, types[: len(crops)], opinions, begun)

    def blended(self, lq: Tensor, made: Tensor, strengths: list[float]) -> Tensor:
        """The faces (N, 3, S, S) as the photo will show them."""
        if all(share == 1 for share in strengths):
            return made
        return lq + upload(torch.tensor(strengths), self.device)[:, None, None, None] * (made - lq)

    def micro_batch(self, lq: Tensor, seeds: list[int]) -> Tensor:
        """The model's result (N, 3, S, S) for crops (N, 3, S, S), both about [-1, 1]."""
        return self.model.restore(
            lq,
            steps=self.settings.steps,
            seeds=seeds,
            color_fix=self.settings.color_fix,
            keep_monochrome=False,  # `launched` keeps the tone
        )

    def finish(self, current: Row, restored: list[RestoredFace]) -> Row:
        """The row of one photo with its restored crops, their masks and measures, and the enlarged background.

        Its seconds_restore are those of this method.
        """
        begun = time.perf_counter()
        masks = [face.mask for face in restored if face.mask is not None]
        return {
            **current,
            "faces": [{**one, **face.measures} for one, face in zip(current["faces"], restored, strict=True)],
            "restored_crops": b"".join(face.crop.tobytes() for face in restored),
            "masks": np.stack(masks).tobytes() if masks else None,
            "background": None if self.background is None else self.enlarged(current, self.background),
            "seconds_restore": time.perf_counter() - begun,
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


def with_share(current: Row, seconds: float) -> Row:
    """The row with this share of the model's time for each face; a row with a status stays as it is."""
    if current["status"] is not None:
        return current
    return {**current, "seconds_restore": current["seconds_restore"] + seconds * len(current["faces"])}
