"""One run at a time on an OUTPUT: its holder renews a lease in OUTPUT/run.lock.json while it works.

Stores have no locks that end with their holder, and clocks differ between machines. So a lease counts as dead when its
file has not changed for `DEAD_AFTER` seconds of the reader's own clock, or when its process on this machine is gone.
Should two runs work at once all the same, they do photos twice but lose nothing: names are deterministic and the
manifest is a log.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from interlcm.errors import InterLCMError
from pipeline import storage
from pipeline.run.holder import Holder
from pipeline.storage import local_disk
from pipeline.storage.output import Output

RENEW_EVERY, DEAD_AFTER = 10.0, 60.0  # seconds
PATIENCE = 3.0  # seconds
POLL = 1.0  # seconds between checks of another holder's lease


class LeaseError(InterLCMError):
    """Another run works on OUTPUT, or has taken it over: one line that names that run."""


class Lease:
    """A lease held by this process; `check` raises LeaseError once another run has taken it over.

    before: the previous holder, if it ended without releasing the lease; its photos in progress may have killed it.
    """

    def __init__(self, output: str, holder: Holder, before: Holder | None = None) -> None:
        self._output, self._uri, self._holder = output, Output(output).lease, holder
        self.before = before
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._waiting: tuple[str, ...] = ()
        self._drivers: tuple[str, ...] = ()
        self._lost: Exception | None = None
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY):
            try:
                other = self._read()
                if other is not None and other.id != self._holder.id:
                    self._lost = LeaseError(f"{self._output}: taken over by {other}; let that run finish")
                    return
                self.renew()
            except storage.StorageError as error:
                if not error.stops_run:  # the workers decide about temporary trouble
                    self._lost = error
                    return

    def _read(self) -> Holder | None:
        """The holder; None also for a damaged file, which this process then rewrites."""
        try:
            return read_holder(self._uri)
        except LeaseError:
            return None

    @property
    def alone(self) -> str:
        """The photo_id last given to `hold`."""
        return self._holder.alone

    @property
    def died_alone(self) -> str:
        """The photo_id that the previous holder worked on alone when it ended; empty if there is none."""
        return self.before.alone if self.before else ""

    def hold(self, photo: str) -> None:
        """Note that this process now works on this photo alone; empty: on several photos again."""
        self._holder = replace(self._holder, alone=photo)
        self.renew()

    def renew(self) -> None:
        """Write the lease as it is now."""
        with self._writing:
            write_holder(self._uri, replace(self._holder, waiting=self._waiting, drivers=self._drivers))

    def note(self, waiting: Sequence[str], drivers: Sequence[str] = ()) -> None:
        """What the run waits for, and its drivers; written when the lease is renewed, at most RENEW_EVERY seconds
        later.

        It waits for no write: storage may be what the run waits for.
        """
        self._waiting, self._drivers = tuple(waiting), tuple(drivers)

    def check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def abandon(self) -> None:
        """Release the lease if that takes PATIENCE seconds at most; else it runs out. For a run that fails or is
        stopped: storage may not answer, or ask for slower requests, and then each one is repeated for long."""

        def release() -> None:
            with suppress(storage.StorageError, LeaseError):
                self.release()

        thread = threading.Thread(target=release, name="release", daemon=True)
        thread.start()
        thread.join(PATIENCE)

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        found = read_holder(self._uri)
        if found is not None and found.id == self._holder.id:
            storage.remove(self._uri)


@contextmanager
def held(output: str, say: Callable[[str], None] = print) -> Iterator[Lease]:
    """Hold the lease of OUTPUT inside this block.

    If the block ends with an error and the lease's file cannot be removed within PATIENCE seconds, the lease runs out.
    Raises LeaseError if another run works there. If that run may be dead, this waits up to DEAD_AFTER seconds to find
    out, and `say` gets one line about it.
    """
    uri, holder = Output(output).lease, Holder.here()
    before = None
    while not storage.create_bytes(uri, _text(holder), say):
        found = read_holder(uri)
        if found is None:
            continue  # just released
        if found.gone if found.is_here else _unchanged(uri, found, say):
            before = found
            write_holder(uri, holder)  # if two do this at once, one of them finds out when it renews
            break
        raise LeaseError(f"{output}: {found} is working on it; wait until it ends, or name another OUTPUT")
    lease = Lease(output, holder, before)
    try:
        yield lease
    except BaseException:
        lease.abandon()
        raise
    lease.release()


def _unchanged(uri: str, found: Holder, say: Callable[[str], None]) -> bool:
    """Whether a lease is dead: it goes unrenewed for DEAD_AFTER seconds, or disappears."""
    before, end = storage.read_bytes(uri), time.monotonic() + DEAD_AFTER
    say(f"{uri}: held by {found}; waiting up to {DEAD_AFTER:.0f} s to see whether it still runs")
    while time.monotonic() < end:
        time.sleep(POLL)
        if not storage.exists(uri):
            return True
        if storage.read_bytes(uri) != before:
            return False
    return True


def remove_leftovers(output: str) -> None:
    """Delete half-written files of earlier attempts whose writers were killed. The caller holds the lease."""
    if Path(output).is_dir():  # object storage shows no half-written file
        began = Path(Output(output).lease).stat().st_mtime
        local_disk.remove_temporaries(output, before=began)


def working(output: str) -> Holder | None:
    """The process that works on OUTPUT now, as far as one look can tell; None if there is none.

    A process on this machine counts while it runs. One elsewhere counts while it renews its lease, by its own clock,
    which may be off by DEAD_AFTER seconds.
    """
    fields = _fields(Output(output).lease)
    if fields is None:
        return None
    renewed, holder = fields
    if holder.is_here:
        return None if holder.gone else holder
    return holder if (datetime.now(UTC) - renewed).total_seconds() < 2 * DEAD_AFTER else None


def read_holder(uri: str) -> Holder | None:
    """The holder of a lease; None if there is no lease."""
    fields = _fields(uri)
    return fields and fields[1]


def _fields(uri: str) -> tuple[datetime, Holder] | None:
    """When a lease was last renewed, by its holder's clock, and its holder; None if there is no lease."""
    try:
        fields = json.loads(storage.read_bytes(uri))
        return datetime.fromisoformat(fields.pop("renewed_at")), Holder(**fields)
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LeaseError(f"{uri}: not a lease; remove this file once no run works there") from error


def write_holder(uri: str, holder: Holder) -> None:
    storage.write_bytes(uri, _text(holder))


def _text(holder: Holder) -> bytes:
    return json.dumps(asdict(holder) | {"renewed_at": datetime.now(UTC).isoformat()}, indent=2).encode() + b"\n"
