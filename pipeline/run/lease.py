"""One run at a time on an OUTPUT: a lease in OUTPUT/run.lock.json that its holder renews while it works.

No store has locks that outlive their holder, and clocks differ between machines. So a lease counts as dead when its
file has not changed for `DEAD_AFTER` seconds of the reader's own clock, or when its process on this machine is gone.
Two runs that slip through would do photos twice and lose nothing: names are deterministic and the manifest is a log.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from interlcm.errors import InterLCMError
from pipeline import storage
from pipeline.storage.output import Output

RENEW_EVERY, DEAD_AFTER = 10.0, 60.0  # seconds
POLL = 1.0  # seconds between looks at another's lease


class LeaseError(InterLCMError):
    """OUTPUT belongs to another run that is under way, or was taken over by one: one line that names it."""


@dataclass(frozen=True)
class Holder:
    """Who works on an OUTPUT. `born` tells a process from a later one with its number.

    alone: the photo_id that the process works on and on nothing else, so that it is known what a process died of.
    namespace: of process numbers; a container of the same host name has its own.
    """

    id: str
    host: str
    pid: int
    born: str
    since: str
    alone: str = ""
    namespace: str = ""

    @staticmethod
    def here() -> Holder:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        here = (socket.gethostname(), os.getpid(), _born(os.getpid()))
        return Holder(uuid.uuid4().hex, *here, since, namespace=_namespace())

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine, which then knows whether it still runs."""
        return self.host == socket.gethostname() and self.namespace in ("", _namespace())

    @property
    def gone(self) -> bool:
        return _born(self.pid) != self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """Held by this process; `check` raises LeaseError once somebody else took it over.

    before: the holder that ended without giving it back, whose photos in hand may be what ended it.
    """

    def __init__(self, output: str, holder: Holder, before: Holder | None = None) -> None:
        self._output, self._uri, self._holder = output, Output(output).lease, holder
        self.before = before
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._lost: Exception | None = None
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY):
            try:
                other = self._read()
                if other is not None and other.id != self._holder.id:
                    self._lost = LeaseError(f"{self._output}: taken over by {other}; let that run go on")
                    return
                with self._writing:
                    write(self._uri, self._holder)
            except storage.StorageError as error:
                if not error.stops_run:  # a bad minute of storage is for the workers to judge
                    self._lost = error
                    return

    def _read(self) -> Holder | None:
        """The holder; None for a damaged file too, which this process then writes anew."""
        try:
            return read(self._uri)
        except LeaseError:
            return None

    @property
    def alone(self) -> str:
        """The photo_id that was given to `hold` last."""
        return self._holder.alone

    @property
    def died_alone(self) -> str:
        """The photo_id that the holder before worked on alone when it ended; empty where it did not."""
        return self.before.alone if self.before else ""

    def hold(self, photo: str) -> None:
        """Note that this process now works on one photo and on nothing else; empty: on several again."""
        with self._writing:
            self._holder = replace(self._holder, alone=photo)
            write(self._uri, self._holder)

    def check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        found = read(self._uri)
        if found is not None and found.id == self._holder.id:
            storage.remove(self._uri)


@contextmanager
def held(output: str, say: Callable[[str], None] = print) -> Iterator[Lease]:
    """Hold the lease of OUTPUT for a while.

    LeaseError when another run is under way there. One that may be dead is waited for, up to DEAD_AFTER seconds, and
    `say` gets one line about it.
    """
    uri, holder = Output(output).lease, Holder.here()
    before = None
    while not storage.create_bytes(uri, _text(holder), say):
        found = read(uri)
        if found is None:
            continue  # released this moment
        if found.gone if found.is_here else _unchanged(uri, found, say):
            before = found
            write(uri, holder)  # of two that do so at once one learns of it when it renews
            break
        raise LeaseError(f"{output}: {found} is working on it; wait until it ends, or name another OUTPUT")
    lease = Lease(output, holder, before)
    try:
        yield lease
    finally:
        lease.release()


def _unchanged(uri: str, found: Holder, say: Callable[[str], None]) -> bool:
    """Whether nobody renews a lease."""
    before, end = storage.read_bytes(uri), time.monotonic() + DEAD_AFTER
    say(f"{uri}: held by {found}; waiting up to {DEAD_AFTER:.0f} s to see whether it still runs")
    while time.monotonic() < end:
        time.sleep(POLL)
        if not storage.exists(uri):
            return True
        if storage.read_bytes(uri) != before:
            return False
    return True


def working(output: str) -> Holder | None:
    """Who works on OUTPUT now, as far as one look can tell; None if nobody does.

    A process of this machine counts while it runs, one elsewhere while it renews its lease by its own clock, which may
    be off by DEAD_AFTER seconds.
    """
    fields = _fields(Output(output).lease)
    if fields is None:
        return None
    renewed, holder = fields
    if holder.is_here:
        return None if holder.gone else holder
    return holder if (datetime.now(UTC) - renewed).total_seconds() < 2 * DEAD_AFTER else None


def read(uri: str) -> Holder | None:
    """The holder of a lease; None where there is none."""
    fields = _fields(uri)
    return fields and fields[1]


def _fields(uri: str) -> tuple[datetime, Holder] | None:
    """When a lease was renewed, by its holder's clock, and its holder."""
    try:
        fields = json.loads(storage.read_bytes(uri))
        return datetime.fromisoformat(fields.pop("renewed_at")), Holder(**fields)
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LeaseError(f"{uri}: not a lease; remove it once no run works there") from error


def write(uri: str, holder: Holder) -> None:
    storage.write_bytes(uri, _text(holder))


def _text(holder: Holder) -> bytes:
    return json.dumps(asdict(holder) | {"renewed_at": datetime.now(UTC).isoformat()}, indent=2).encode() + b"\n"


def _namespace() -> str:
    """The kernel's name of the space that this process's number belongs to; empty where there is no such name."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process of this machine began, as its kernel counts it; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            ticks = file.read().rpartition(")")[2].split()[19]
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{ticks}"
    except OSError:
        return ""
