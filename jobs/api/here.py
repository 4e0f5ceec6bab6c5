"""The chain of stages in this process, for photos whose bytes are at hand: detect -> restore -> compose."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial

from interlcm.errors import without_secrets
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.run.batching import MAX_BLOCK_BYTES, BatchSizes
from pipeline.run.chain import Stage, Work, chain
from pipeline.run.here import Here, one_by_one, working
from pipeline.stages.row import Row, to_table

WAIT = 60.0  # seconds for a stage's call to end: a decoder has no more by default, a face on a CPU takes a few


class Stages:
    """The stages of a run but the first, which reads, and the last, which writes. They are loaded once, here.

    Raises WeightsError or DetectorError.
    """

    def __init__(self, job: Job, resources: Resources) -> None:
        sizes = BatchSizes(call_photos=resources.batch_faces, part_photos=1, block_bytes=MAX_BLOCK_BYTES)
        _, detect, restore, _ = chain(job, resources, sizes)
        self.here = Here((detect, restore, Stage("compose", composer, (job,), 1)), threading.Event())
        for stage in self.here.stages:
            self.here.work(stage)

    def results(self, rows: Sequence[Row]) -> Generator[Row, None, None]:
        """The rows of these photos after the last stage, in their order; a TIFF of several pages has one for each."""
        try:
            with closing(self.here.together(one_by_one(to_table(list(rows))))) as tables:
                for table in tables:
                    yield from table.to_pylist()
        except BaseException:
            working(WAIT)  # a call that nobody waits for must not meet the next one in its stage
            raise


def composer(job: Job) -> Work:
    from pipeline.stages.compose import compose  # here: it brings decoders and measures

    return partial(compose, job=job)


def open_row(photo_id: str, data: bytes, source: str = "", member: str = "") -> Row:
    """What the first stage of a run gives for a photo. Restored files name its source and member: no secret stays in
    them."""
    source, member = without_secrets(source), without_secrets(member)
    about = {"photo_id": photo_id, "source": source, "archive_name": "", "member": member, "occurrence": 0}
    return {**about, "page": 1, "pages": 1, "bytes": len(data), "data": data, "faces": []}
