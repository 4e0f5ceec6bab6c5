"""Output of a benchmark: tables on the screen, and the same with machine and versions as JSON."""

import json
import os
import platform
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
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
    about = machine()
    for title, rows in tables.items():
        print(f"\n{title}\n\n{markdown(rows)}")
    print(f"\n{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['gpu'] or 'no GPU'}")
    if to:
        check_not_in_run(to)
        record = {
            "command": without_secrets(" ".join(["interlcm", *sys.argv[1:]])),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": about,
            "versions": {name: version(name) for name in PACKAGES},
            "tables": tables,
        }
        storage.write_bytes(to, (json.dumps(record, indent=2) + "\n").encode())
        print(f"figures written to {to}")


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
    """The processor, the cores and the memory that this process may use, and the GPU that PyTorch sees."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": processor(),
        "cores": cores(),
        "memory_gb": round(memory / 1e9),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
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
