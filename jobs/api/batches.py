"""Many photos: a callable for `map_batches` of the user's own Ray Data pipeline."""

from __future__ import annotations

from typing import Unpack

import pyarrow as pa

from interlcm.weights_index import DEMO
from jobs.api.columns import Batch, open_rows, repeated, table_of, with_results
from jobs.api.here import Stages
from jobs.api.options import Device, Options, prepared
from pipeline.stages.row import Row, unforeseen


class RestorePhotos:
    """Restores the photos in a column of encoded images. Made once in each actor, which then holds the model.

    A batch is a `pyarrow.Table` or a dict of NumPy arrays. What comes out is a table with the same rows in their order,
    the same columns, and those of `columns.RESTORED_SCHEMA`; a TIFF of several pages becomes a row for each. A photo
    that fails is a row that says why.
    """

    def __init__(
        self,
        image: str = "bytes",
        name: str | None = None,
        weights: str = DEMO,
        device: Device | None = None,
        **options: Unpack[Options],
    ) -> None:
        """image: the column of the files' bytes, or of structs with `bytes` and perhaps `path`. name: the column of
        names, which restored files state as their source; None: `path` of the struct, or none.

        weights, device, options: as for `Restorer.from_pretrained`, and with the same errors.
        """
        self.image, self.name = image, name
        self.stages = Stages(*prepared(weights, device, options))

    def __call__(self, batch: Batch) -> pa.Table:
        table = table_of(batch)
        results = self.results(open_rows(table, self.image, self.name))
        return with_results(repeated(table, [result["photo_id"] for result in results]), results)

    def results(self, rows: list[Row]) -> list[Row]:
        """All rows after the last stage. An error that no stage foresaw fails the photo that it comes from."""
        try:
            return list(self.stages.results(rows))
        except Exception:
            return [result for row in rows for result in self.alone(row)]

    def alone(self, row: Row) -> list[Row]:
        try:
            return list(self.stages.results([row]))
        except Exception as error:
            return [{**unforeseen(row, error), "faces": []}]
