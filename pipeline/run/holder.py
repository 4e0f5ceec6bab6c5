"""The process that works on an OUTPUT, as its lease names it."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Holder:
    """The process that works on an OUTPUT. `born` tells it from a later process with the same number.

    alone: photo_id, if the process works on this photo alone; then this photo is to blame if the process dies.
    namespace: of process numbers; a container with the same host name has its own.
    waiting: lines that say what the run waits for; none while it moves.
    drivers: a line about each driver, if there are several.
    """

    id: str
    host: str
    pid: int
    born: str
    since: str
    alone: str = ""
    namespace: str = ""
    waiting: Sequence[str] = ()
    drivers: Sequence[str] = ()

    @staticmethod
    def here() -> Holder:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        here = (socket.gethostname(), os.getpid(), _born(os.getpid()))
        return Holder(uuid.uuid4().hex, *here, since, namespace=_namespace())

    @property
    def is_here(self) -> bool:
        """Whether the holder is a process of this machine, so that the kernel here knows whether it still runs."""
        return self.host == socket.gethostname() and self.namespace in ("", _namespace())

    @property
    def gone(self) -> bool:
        return _born(self.pid) != self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def _namespace() -> str:
    """The kernel's name of this process's PID namespace; empty on systems without one."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process of this machine began, in the kernel's count; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            ticks = file.read().rpartition(")")[2].split()[19]
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{ticks}"
    except OSError:
        return ""
