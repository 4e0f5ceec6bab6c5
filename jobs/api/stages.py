"""The stages of `RestorePhotos` one by one, so that decoding and pasting need no GPU: detect -> restore -> paste.

Each is a callable for `map_batches` with `batch_format="pyarrow"`. All three get the same weights, device and options.
"""

from __future__ import annotations

from typing import Unpack

import pyarrow as pa

from interlcm.weights_index import DEMO
from jobs.api.columns import Batch, open_rows, repeated, table_of, with_results
from jobs.api.here import composer
from jobs.api.options import Device, Options, prepared
from pipeline.run.chain import Work
from pipeline.run.here import one_by_one, outputs
from pipeline.stages import row
from pipeline.stages.row import to_table, unforeseen

ROW = "interlcm_row"  # the column in which a photo travels between these stages


class DetectFaces:
    """Decodes photos and finds their faces. A TIFF of several pages becomes a row for each; all other rows stay one."""

    def __init__(
        self,
        image: str = "bytes",
        name: str | None = None,
        weights: str = DEMO,
        device: Device = "cpu",
        **options: Unpack[Options],
    ) -> None:
        """As `RestorePhotos`. device: that of the model; faces are found on the CPU."""
        from pipeline.stages.detect import DetectFaces as Detector

        self.image, self.name = image, name
        self.work = Detector(prepared(weights, device, options, model=False)[0])

    def __call__(self, batch: Batch) -> pa.Table:
        table = table_of(batch)
        found = guarded(self.work, to_table(open_rows(table, self.image, self.name)))
        return carrying(repeated(table, found["photo_id"].to_pylist()), found)


class RestoreFaces:
    """Restores the faces that `DetectFaces` found. Each actor holds the model."""

    def __init__(self, weights: str = DEMO, device: Device = "cpu", **options: Unpack[Options]) -> None:
        from pipeline.stages.restore import RestoreFaces as Model

        self.work = Model(*prepared(weights, device, options))

    def __call__(self, table: pa.Table) -> pa.Table:
        return carrying(table, guarded(self.work, carried(table)))


class PasteFaces:
    """Pastes the faces that `RestoreFaces` gives, and adds the columns of `columns.RESTORED_SCHEMA`."""

    def __init__(self, weights: str = DEMO, device: Device = "cpu", **options: Unpack[Options]) -> None:
        self.work = composer(prepared(weights, device, options, model=False)[0])

    def __call__(self, table: pa.Table) -> pa.Table:
        results = guarded(self.work, carried(table)).to_pylist()
        return with_results(table.drop_columns(ROW), results)


def carried(table: pa.Table) -> pa.Table:
    """The rows of photos in a batch. Raises ValueError where the stage before is missing."""
    if not isinstance(table, pa.Table) or ROW not in table.column_names:
        raise ValueError(f'no column {ROW}: it comes from the stage before; give map_batches batch_format="pyarrow"')
    return pa.Table.from_struct_array(table[ROW]).cast(row.SCHEMA)


def carrying(table: pa.Table, rows: pa.Table) -> pa.Table:
    """The batch with these rows of photos."""
    kept = table.drop_columns(ROW) if ROW in table.column_names else table
    return kept.append_column(ROW, rows.to_struct_array())


def guarded(work: Work, table: pa.Table) -> pa.Table:
    """What a stage makes of a table. An error that it did not foresee fails the photo that it comes from."""
    if not table.num_rows:
        return table
    try:
        return pa.concat_tables(outputs(work(table)))
    except Exception:
        return pa.concat_tables([alone(work, one) for one in one_by_one(table)])


def alone(work: Work, table: pa.Table) -> pa.Table:
    try:
        return pa.concat_tables(outputs(work(table)))
    except Exception as error:
        (failed,) = table.to_pylist()
        return pa.concat_tables(outputs(work(to_table([unforeseen(failed, error)]))))
