"""Stages that kill their workers or never start. Each worker imports this module, so it has to be quick."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.photos.errors import PhotoError
from pipeline.stages import row


class Deadly:
    """A stage in which photos called segfault and killed end their worker; "once" does so only once."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for current in table.to_pylist():
            name = current["member"] or current["photo_id"]
            if current["status"] is None:
                with open(self.folder / name, "a") as log:
                    log.write(f"{table.num_rows} ")
                self.die(name)
            yield row.to_table([current])

    def die(self, name: str) -> None:
        if name.startswith("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("killed"):  # as the kernel ends a process that takes too much memory
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "once" and len((self.folder / name).read_text().split()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Faceless:
    """A stage that finds no face in any photo."""

    def __call__(self, table: pa.Table) -> pa.Table:
        return row.each_open(table, lambda current: row.ended(current, "no_face"))


class Refusing:
    def __init__(self) -> None:
        raise PhotoError("wrong", "these weights are not those")

    def __call__(self, table: pa.Table) -> pa.Table:
        return table
