"""Output of a benchmark: tables on the screen, and the same with machine and versions as JSON."""

import json
import os
import platform
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from interlcm.errors import without_secrets
from pipeline import storage
from pipeline.cluster.connect import cores
from pipeline.storage.output import check_not_in_run

Rows = list[dict[str, Any]]  # column, with its unit -> value

On = Annotated[
    str, typer.Option(metavar="URI", help="Working folder, such as s3://bucket/benchmark. Default: a temporary folder.")
]
To = Annotated[str, typer.Option(metavar="FILE", help="Also write the figures as JSON to this path or URI.")]

PACKAGES = ("interlcm", "torch", "diffusers", "ray", "pyarrow", "duckdb", "numpy", "pyvips", "opencv-python")


@contextmanager
def workplace(on: str) -> Iterator[str]:
    """The working folder: a new one below `on`, or a temporary one on this machine, which is removed afterwards."""
    if on:
        yield storage.join(storage.canonical(on), uuid.uuid4().hex[:8])
        return
    with TemporaryDirectory(prefix="interlcm-benchmark-") as folder:
        yield folder


def publish(tables: dict[str, Rows], to: str = "") -> None:
    """Print each table under its title, and write all of them to `to`, if given."""
    for title, rows in tables.items():
        print(f"\n{title}\n\n{markdown(rows)}")
    finish(tables, to)


class Live:
    """Tables that are printed row by row as they are measured. `to`, if given, is written again after each row, so that
    a crash or a time limit loses nothing."""

    def __init__(self, to: str = "") -> None:
        self.to, self.tables = to, dict[str, Rows]()
        if to:
            write({}, to)  # now, so that a path that cannot be written costs no measurement

    def whole(self, title: str, rows: Rows) -> None:
        """A table whose rows are known together."""
        self.tables[title] = rows
        print(f"\n{title}\n\n{markdown(rows)}", flush=True)

    def add(self, title: str, row: dict[str, Any]) -> None:
        """A row of the newest table, or the first row of a new one, whose columns it decides."""
        rows = self.tables.setdefault(title, [])
        if not rows:
            print(f"\n{title}\n")
        lines = markdown([*rows[:1], row]).splitlines()  # as wide as its first row
        print("\n".join([*lines[:2], lines[-1]] if not rows else lines[-1:]), flush=True)
        rows.append(row)
        if self.to:
            write(self.tables, self.to)

    def finish(self) -> None:
        finish(self.tables, self.to)


def finish(tables: dict[str, Rows], to: str) -> None:
    """Print the machine; write the tables to `to`, if given."""
    about = machine()
    print(f"\n{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['gpu'] or 'no GPU'}")
    if about["tf32"]:
        print(f"TF32: {about['tf32']}")
    if to:
        write(tables, to)
        print(f"figures written to {to}")


def write(tables: dict[str, Rows], to: str) -> None:
    check_not_in_run(to)
    record = {
        "command": without_secrets(" ".join(["interlcm", *sys.argv[1:]])),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "tables": tables,
    }
    storage.write_bytes(to, (json.dumps(record, indent=2) + "\n").encode())


def installed(package: str) -> str | None:
    """The version of a package; None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def numbers(option: str, text: str, least: int = 1) -> list[int]:
    """'--actors', '1,4' -> [1, 4]. Raises typer.BadParameter, which names the option, for a number below `least`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= least for word in words):
        raise typer.BadParameter(f"{option} {text}: give a number of {least} or more, or several such as {least},100")
    return [int(word) for word in words]


def markdown(rows: Rows) -> str:
    """A Markdown table that is also readable on a terminal."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([shown(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(names))]
    numeric = [all(not isinstance(row.get(name), str) for row in rows) for name in names]
    rule = "| " + " | ".join("-" * (w - 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True)) + " |"
    lines = [
        "| " + " | ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)) + " |"
        for line in cells
    ]
    return "\n".join([lines[0], rule, *lines[1:]])


def shown(value: Any) -> str:
    """A measured figure with three digits, a count with all of its digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine() -> dict[str, Any]:
    """The processor, the cores and the memory that this process may use, the GPU that PyTorch sees, and where it
    computes float32 in TF32."""
    import torch

    gpu = torch.cuda.is_available()
    uses = {True: "yes", False: "no"}
    matrices, convolutions = (uses[torch.backends.cuda.matmul.allow_tf32], uses[torch.backends.cudnn.allow_tf32])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": processor(),
        "cores": cores(),
        "memory_gb": round(memory / 1e9),
        "gpu": torch.cuda.get_device_name() if gpu else "",
        "tf32": f"matrix products {matrices}, convolutions {convolutions}" if gpu else "",
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name, from Linux."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def size_range(text: str) -> tuple[int, int]:
    """'1:20' (MB) -> (1000000, 20000000)."""
    low, _, high = text.partition(":")
    try:
        bounds = int(float(low) * 1e6), int(float(high or low) * 1e6)
    except ValueError:
        bounds = (0, 0)
    if not 1000 <= bounds[0] <= bounds[1]:
        raise typer.BadParameter(f"--megabytes {text}: give a size such as 5, or LOW:HIGH such as 1:20")
    return bounds
