"""What each single process of a large run does: python -m tests.scale.cluster_size [NODES ...]

For each number of nodes, starts a Ray cluster of stand-in nodes on this machine (`ray.cluster_utils`) and a run on it:
the real driver, ledger, manifest and compaction, with stages that sleep instead of computing, and an S3 server that
answers each request 30 ms late. Before the first photo all restore actors wait for a while, which shows what each
process costs by itself; then the photos run through. The first table has what was measured, the second what follows for
10, 50 and 200 nodes, a restore actor each, at 15 photos/s of each. Takes some minutes for each number of nodes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from pipeline.run.batching import BatchSizes, fitting
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
LATE = 0.03  # s
PHOTO_BYTES = 250_000  # a fourth of what a photo of 1 MB carries: no process that is measured here touches the bytes
BLOCK = int(os.environ.get("BLOCK", BLOCK_PHOTOS))
PHOTOS = 3000  # of a run: a hundred parts
WARM = 0.2  # share of the photos before the measurement
QUIET = 15.0  # s
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


def chain(job: Job, resources: Resources, sizes: BatchSizes, gate: str) -> tuple[Stage, Stage, Stage, Stage]:
    """Stand-ins for the stages: they move rows of real sizes, keep the ledger, and write manifest parts."""
    return (
        Stage("fetch", reading, (job.output, job.environment)),
        Stage("detect", passing, (), 1),
        Stage("restore", sleeping, (gate,), sizes.call_photos),
        Stage("publish", writing, (job,), sizes.part_photos),
    )


def reading(output: str, environment: Any) -> Callable[[pa.Table], Iterator[pa.Table]]:
    def read(units: pa.Table) -> Iterator[pa.Table]:
        environment.use()
        for unit in units.to_pylist():
            rows = load(unit, output).to_pylist()
            for first in range(0, len(rows), BLOCK):
                some = rows[first : first + BLOCK]
                known = [{name: row[name] for name in ("photo_id", "source", "member")} for row in some]
                yield to_table([{**one, "data": bytes(PHOTO_BYTES), "faces": []} for one in known])

    return read


def passing() -> Callable[[pa.Table], pa.Table]:
    return lambda table: table


def sleeping(gate: str) -> Callable[[pa.Table], pa.Table]:
    """As long as a restore actor takes; the first photos wait until the gate is open."""

    def restore(table: pa.Table) -> pa.Table:
        Path(gate, f"{os.getpid()}.waiting").touch()
        while not Path(gate, "open").exists():
            time.sleep(0.2)
        time.sleep(len(table) / RATE)
        with Path(gate, f"{os.getpid()}.calls").open("a") as calls:
            calls.write(f"{len(table)}\n")
        return table

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
    """CPU seconds by role: a second without photos, and of a photo, of which the former is taken off."""

    nodes: int
    quiet: dict[str, float]
    photo: dict[str, float]
    rate: float
    calls: float
    merge: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        for role in ROLES:
            each = self.nodes if role == "node raylets" else 1
            yield {
                "nodes": self.nodes,
                "process": role if each == 1 else "a node's raylet",
                "without photos, % of a core": 100 * self.quiet[role] / each,
                "ms of CPU a photo": 1000 * self.photo[role] / each,
                "photos/s here": self.rate,
                "photos in a restore call": self.calls,
            }


def measured(nodes: int, output: str, proxy: LateProxy) -> Measured:
    with TemporaryDirectory(prefix="size-") as gate:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=3, object_store_memory=STORE)
            os.environ["RAY_ADDRESS"] = cluster.address
            for first in range(0, PHOTOS, 250):
                rows = [
                    index_row(
                        f"{n:06}.jpg",
                        photo_id=f"{n:020x}",
                        source=f"s3://late/{first}.tar",
                        bytes=1_000_000,
                        stored_bytes=1_000_000,
                    )
                    for n in range(first, min(first + 250, PHOTOS))
                ]
                write_index(output, rows, f"box-{first}")
            return of_run(nodes, output, gate, Watched(cluster, proxy))
        finally:
            ray.shutdown()
            cluster.shutdown()
            os.environ.pop("RAY_ADDRESS", None)


def of_run(nodes: int, output: str, gate: str, watched: Watched) -> Measured:
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
    # The sizes of a run of 10^8 photos on 200 such nodes.
    fixed, _ = fitting(
        10**8,
        1e6,
        512,
        Resources(max_actors=200, batch_faces=32, find_batch=True),
        int(0.3 * GPU_NODE),
        int(0.3 * GPU_NODE),
    )
    attempt.chain = lambda job, resources, sizes: chain(job, resources, fixed, gate)
    attempt.batches = lambda pending, size, resources: (fixed, resources)
    merging.COMPACT_EVERY = 10**9  # all at the end, where it is measured by itself
    snaps: list[dict[str, float]] = []

    def open_gate() -> None:
        while len(list(Path(gate).glob("*.waiting"))) < nodes:
            time.sleep(1)
        time.sleep(5)
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
            if first is None and progress.done >= WARM * PHOTOS:
                first = (progress.done, watched.now())
            if progress.done == PHOTOS:
                last = (progress.done, watched.now())
    merging.compaction.compact_if_many = real
    assert first is not None and last is not None
    calm, busy = change(*snaps), change(first[1], last[1])
    quiet = {role: calm[role] / calm["t"] for role in ROLES}
    done = last[0] - first[0]
    photo = {role: (busy[role] - quiet[role] * busy["t"]) / done for role in ROLES}
    calls = [int(line) for file in Path(gate).glob("*.calls") for line in file.read_text().split()]
    return Measured(nodes, quiet, photo, done / busy["t"], sum(calls) / len(calls), merge)


def change(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before.get(name, 0.0) for name in after}


def computed(found: list[Measured]) -> Iterator[dict[str, Any]]:
    """Shares of a core at SIZES: costs of a photo of the largest cluster, and of a node from its growth."""
    small, large = found[0], found[-1]
    for role in ROLES:
        each = 1 if role != "node raylets" else large.nodes
        row: dict[str, Any] = {"process": role if each == 1 else "a node's raylet"}
        slope = (large.quiet[role] - small.quiet[role]) / max(1, large.nodes - small.nodes)
        for nodes in SIZES:
            quiet = (
                large.quiet[role] / each if each > 1 else large.quiet[role] + max(0.0, slope) * (nodes - large.nodes)
            )
            load = quiet + large.photo[role] / each * RATE * (nodes if each == 1 else large.nodes)
            row[f"{nodes} nodes, {nodes * RATE:,.0f} photos/s: % of a core"] = 100 * load
        yield row
    part = fitting(10**8, 1e6, 512, Resources(max_actors=200), int(0.3 * GPU_NODE), int(0.3 * GPU_NODE))[0].part_photos
    row = {"process": "compaction, in the driver"}
    row |= {
        f"{n} nodes, {n * RATE:,.0f} photos/s: % of a core": 100 * large.merge["cpu"] * n * RATE / part for n in SIZES
    }
    yield row


def main(sizes: list[int]) -> None:
    with CephGateway() as gateway, late_proxy(gateway.rgw_port, LATE) as proxy:
        os.environ |= gateway.environment | {"RAY_AUTH_MODE": "disabled"}
        storage_client.filesystem("s3://late")[0].mkdir("s3://late")
        storage_client.configure({"AWS_ENDPOINT_URL": proxy.endpoint})
        found = []
        for nodes in sizes:
            found.append(measured(nodes, f"s3://late/out-{nodes}", proxy))
            print(markdown(list(found[-1].rows)), found[-1].merge, flush=True)
        print()
        print(markdown([row for one in found for row in one.rows]))
        print()
        print(markdown(list(computed(found))))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [2, 5, 10])
