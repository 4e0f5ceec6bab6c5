"""What each single process of a large run does: python -m tests.scale.cluster_size [NODES:RATE ...]

For each pair, starts a Ray cluster of so many stand-in nodes on this machine (`ray.cluster_utils`) and a run on it: the
real driver, ledger, manifest and compaction, with stages that sleep instead of computing, so that all nodes together
finish RATE photos/s if this machine can, and an S3 server that answers each request 30 ms late. Blocks, calls and parts
are those of a run on 200 nodes. Before the first photo all restore actors wait for a while, which shows what a process
costs without photos. The first table has what was measured, the second what follows for 10, 50 and 200 nodes, each with
a restore actor that does 15 photos/s. Takes some minutes for each pair.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import ray
from ray.cluster_utils import Cluster

from jobs.benchmark.figures import markdown
from pipeline.benchmark.throughput import stand_in_job
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.units import load
from pipeline.manifest.write import write_part
from pipeline.run import attempt, lease, merging
from pipeline.run.batching import STORE_SHARE, BatchSizes, fitting
from pipeline.run.chain import Stage
from pipeline.stages.fetch import BLOCK_PHOTOS
from pipeline.stages.publish import DONE
from pipeline.stages.row import to_table
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output
from tests.support.ceph import CephGateway
from tests.support.late_proxy import LateProxy, late_proxy
from tests.support.rows import face, index_row, result_row, write_index

RATE = 15.0  # photos/s of a restore actor on a fast GPU
PAIRS = ["2:40", "4:40", "4:150", "4:400", "10:150"]
LATE = 0.03  # s
# Stand-in rows, blocks and stores are so many times lighter than with photos of 1 MB and two faces: no measured process
# reads their bytes.
LIGHTER = 50
PHOTO_BYTES, CROPS_BYTES = 1_000_000 // LIGHTER, 2 * 3 * 512**2 // LIGHTER
SECONDS, FEWEST = 30, 3000  # of a run: so long at its rate, and so many photos
WARM = 0.2  # share of the photos before the measurement
SETTLED, QUIET = 20.0, 20.0  # s: until the nodes have started, then of the measurement without photos
STORE = 150 << 20  # bytes of a stand-in node's object store
GPU_NODE = 64 << 30  # bytes of memory of the nodes that the block sizes are for
SIZES = (10, 50, 200)


@dataclass
class Watched:
    """CPU seconds of the processes of a run by their role."""

    cluster: Any
    proxy: LateProxy

    def now(self) -> dict[str, float]:
        head = {kind: self.cluster.head_node.all_processes[kind][0].process.pid for kind in ("gcs_server", "raylet")}
        found = {
            "driver": cpu(psutil.Process()),
            "ledger": 0.0,
            "node raylets": 0.0,
            "Ray Data's actors": 0.0,
            "t": time.monotonic(),
        }
        for process in psutil.Process().children(recursive=True):
            try:
                name, used = process.name(), cpu(process)
                title = " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            if process.pid == head["gcs_server"]:
                found["GCS"] = used
            elif process.pid == head["raylet"]:
                found["head raylet"] = used
            elif name == "raylet":
                found["node raylets"] += used
            elif "Ledger" in title:
                found["ledger"] += used
            elif any(own in title for own in RAY_DATA):
                found["Ray Data's actors"] += used
        return found


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


ROLES = ("driver", "ledger", "GCS", "head raylet", "Ray Data's actors", "node raylets")
RAY_DATA = ("StatsActor", "ActorLocationTracker", "AutoscalingCoordinator")  # one of each for a cluster


def stages(job: Job, sizes: BatchSizes, gate: str, rate: float) -> tuple[Stage, Stage, Stage, Stage]:
    """Stand-ins for the stages: they move rows of real sizes, keep the ledger, and write manifest parts."""
    return (
        Stage("fetch", reading, (job.output, job.environment)),
        Stage("detect", adding, ("crops",), 1),
        Stage("restore", sleeping, (gate, rate), sizes.call_photos),
        Stage("publish", writing, (job,), sizes.part_photos),
    )


def reading(output: str, environment: Any) -> Callable[[pa.Table], Iterator[pa.Table]]:
    def read(units: pa.Table) -> Iterator[pa.Table]:
        environment.use()
        for unit in units.to_pylist():
            rows = load(unit, output).to_pylist()
            for first in range(0, len(rows), BLOCK_PHOTOS):
                some = rows[first : first + BLOCK_PHOTOS]
                known = [{name: row[name] for name in ("photo_id", "source", "member")} for row in some]
                yield to_table([{**one, "data": bytes(PHOTO_BYTES), "faces": []} for one in known])

    return read


def adding(column: str) -> Callable[[pa.Table], pa.Table]:
    """Gives each row crops, in this column: Ray Data then makes more blocks of them, as in a run."""

    def add(table: pa.Table) -> pa.Table:
        crops = pa.array([bytes(CROPS_BYTES)] * len(table), pa.large_binary())
        return table.set_column(table.schema.get_field_index(column), column, crops)

    return add


def sleeping(gate: str, rate: float) -> Callable[[pa.Table], pa.Table]:
    """As long as a restore actor takes; the first photos wait until the gate is open."""

    def restore(table: pa.Table) -> pa.Table:
        Path(gate, f"{os.getpid()}.waiting").touch()
        while not Path(gate, "open").exists():
            time.sleep(0.2)
        time.sleep(len(table) / rate)
        with Path(gate, f"{os.getpid()}.calls").open("a") as calls:
            calls.write(f"{len(table)}\n")
        return adding("restored_crops")(table)

    return restore


def writing(job: Job) -> Callable[[pa.Table], pa.Table]:
    def write(table: pa.Table) -> pa.Table:
        job.environment.use()
        known = table.select(["photo_id", "source", "member"]).to_pylist()
        rows = [
            result_row(
                one["member"],
                faces=[face(0)],
                face_count=1,
                page=1,
                pages=1,
                attempt=job.number,
                **{n: one[n] for n in ("photo_id", "source")},
            )
            for one in known
        ]
        write_part(rows, job.output, job.attempt)
        return pa.Table.from_pylist([{name: row[name] for name in DONE.names} for row in rows], schema=DONE)

    return write


@dataclass
class Measured:
    """One run. quiet, busy: shares of a core by role, without photos and at `rate` photos/s, those without included.

    calls: photos in a call of a restore actor. merge: parts of the compaction at the end, and of each its requests, CPU
    seconds and seconds.
    """

    nodes: int
    quiet: dict[str, float]
    busy: dict[str, float]
    rate: float
    calls: float
    merge: dict[str, float]

    @property
    def row(self) -> dict[str, Any]:
        shares = {role: f"{100 * self.quiet[role]:.1f}, {100 * self.busy[role]:.1f}" for role in ROLES}
        shares["a node's raylet"] = shares.pop("node raylets")
        part = {f"{name} of a part": self.merge[name] for name in ("requests", "cpu")}
        return {"nodes": self.nodes, "photos/s": self.rate, **shares, "photos in a call": self.calls, **part}


def added(cluster: Cluster, **options: Any) -> None:
    """A node. Ray gives it 30 s to start, which is too little on a busy machine."""
    for last in (False, False, False, True):
        try:
            cluster.add_node(**options)
            return
        except Exception:
            if last:
                raise


def measured(nodes: int, rate: float, output: str, proxy: LateProxy) -> Measured:
    photos = max(FEWEST, int(SECONDS * rate))
    with TemporaryDirectory(prefix="size-") as gate:
        cluster = Cluster()
        try:
            added(cluster, num_cpus=0, include_dashboard=False)
            for _ in range(nodes):
                added(cluster, num_cpus=3, object_store_memory=STORE)
            os.environ["RAY_ADDRESS"] = cluster.address
            for first in range(0, photos, 250):
                rows = [
                    index_row(
                        f"{n:06}.jpg",
                        photo_id=f"{n:020x}",
                        source=f"s3://late/{first}.tar",
                        bytes=1_000_000,
                        stored_bytes=1_000_000,
                    )
                    for n in range(first, min(first + 250, photos))
                ]
                write_index(output, rows, f"box-{first}")
            return of_run(nodes, photos, rate / nodes, output, gate, Watched(cluster, proxy))
        finally:
            ray.shutdown()
            cluster.shutdown()
            os.environ.pop("RAY_ADDRESS", None)


def of_run(nodes: int, photos: int, each: float, output: str, gate: str, watched: Watched) -> Measured:
    merge: dict[str, float] = {}

    def merged(output: str, whole: bool = True) -> None:
        parts = len(Output(output).manifest_files())
        asked, begun, used = watched.proxy.requests(), time.monotonic(), time.process_time()
        real(output, whole)
        merge.update(
            parts=parts,
            requests=(watched.proxy.requests() - asked) / parts,
            cpu=(time.process_time() - used) / parts,
            s=(time.monotonic() - begun) / parts,
        )

    real, merging.compaction.compact_if_many = merging.compaction.compact_if_many, merged
    sizes = sizes_of(200)
    sizes = replace(sizes, block_bytes=sizes.block_bytes // LIGHTER)
    attempt.chain = lambda job, resources, sizes: stages(job, sizes, gate, each)
    attempt.batches = lambda pending, size, resources: (sizes, resources)
    merging.COMPACT_EVERY = 10**9  # all at the end, where it is measured by itself
    snaps: list[dict[str, float]] = []

    def open_gate() -> None:
        while len(list(Path(gate).glob("*.waiting"))) < nodes:
            time.sleep(1)
        time.sleep(SETTLED)
        snaps.append(watched.now())
        time.sleep(QUIET)
        snaps.append(watched.now())
        Path(gate, "open").touch()

    threading.Thread(target=open_gate, daemon=True).start()
    job = stand_in_job(output)
    resources = Resources(min_actors=nodes, max_actors=nodes)
    first = last = None
    with lease.held(output) as mine:
        for progress in attempt.restore(job, resources, mine):
            if first is None and progress.done >= WARM * photos:
                first = (progress.done, watched.now())
            if progress.done == photos:
                last = (progress.done, watched.now())
    merging.compaction.compact_if_many = real
    assert first is not None and last is not None
    calls = [int(line) for file in Path(gate).glob("*.calls") for line in file.read_text().split()]
    quiet, busy = shares(snaps[0], snaps[1], nodes), shares(first[1], last[1], nodes)
    rate = (last[0] - first[0]) / (last[1]["t"] - first[1]["t"])
    return Measured(nodes, quiet, busy, rate, sum(calls) / len(calls), merge)


def shares(before: dict[str, float], after: dict[str, float], nodes: int) -> dict[str, float]:
    """Shares of a core by role; of the nodes' raylets, the mean."""
    seconds = after["t"] - before["t"]
    used = {role: (after[role] - before.get(role, 0.0)) / seconds for role in ROLES}
    return used | {"node raylets": used["node raylets"] / nodes}


def computed(found: list[Measured]) -> Iterator[dict[str, Any]]:
    """Percent of a core at SIZES: least squares over all runs, with and without photos, for a sum of a constant, a
    share of each node and a share of each photo/s. What a node's own raylet does depends on the photos/s of the node.
    """
    for role in ROLES:
        own = role == "node raylets"
        points = [
            (one.nodes, rate, load[role]) for one in found for rate, load in ((0, one.quiet), (one.rate, one.busy))
        ]
        known = [(1, 0, rate / nodes) if own else (1, nodes, rate) for nodes, rate, _ in points]
        constant, node, photo = np.linalg.lstsq(np.array(known), np.array([load for *_, load in points]))[0]
        loads = [constant + photo * RATE if own else constant + node * n + photo * RATE * n for n in SIZES]
        yield percent("a node's raylet" if own else role, loads)
    part = sum(one.merge["cpu"] for one in found) / len(found)
    yield percent("compaction, in the driver", [part * n * RATE / sizes_of(200).part_photos for n in SIZES])


def percent(role: str, loads: list[float]) -> dict[str, Any]:
    names = [f"{n} nodes, {n * RATE:,.0f} photos/s" for n in SIZES]
    return {"process": role, **{name: f"{100 * load:.0f}%" for name, load in zip(names, loads, strict=True)}}


def sizes_of(actors: int) -> BatchSizes:
    """The sizes of a run of 10^8 photos of 1 MB on so many nodes."""
    store = int(STORE_SHARE * GPU_NODE)
    resources = Resources(max_actors=actors, batch_faces=32, find_batch=True)
    return fitting(10**8, 1e6, 512, resources, store, store)[0]


def main(pairs: list[str]) -> None:
    with CephGateway() as gateway, late_proxy(gateway.rgw_port, LATE) as proxy:
        os.environ |= gateway.environment | {"RAY_AUTH_MODE": "disabled"}
        storage_client.filesystem("s3://late")[0].mkdir("s3://late")
        storage_client.configure({"AWS_ENDPOINT_URL": proxy.endpoint})
        found = []
        for number, pair in enumerate(pairs):
            nodes, rate = map(int, pair.split(":"))
            found.append(measured(nodes, rate, f"s3://late/out-{number}", proxy))
            print(markdown([found[-1].row]), flush=True)
        print()
        print(markdown([one.row for one in found]))
        if len(found) > 2 and len({one.nodes for one in found}) > 1:  # else nothing follows for other sizes
            print()
            print(markdown(list(computed(found))))


if __name__ == "__main__":
    main(sys.argv[1:] or PAIRS)
