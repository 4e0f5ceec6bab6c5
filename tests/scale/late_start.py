"""What the start of a large run costs on slow storage: python -m tests.scale.late_start [ARCHIVES [MS [PHOTOS]]]

Puts a made-up run of ARCHIVES tars of PHOTOS photos each, half of them done, on a real S3 server behind a proxy that
answers each request MS milliseconds late and counts them. Then a process of its own does what `interlcm restore` does
between the command and the first unit of a run that is continued: list the sources, scan the index, find out what is
left, cut it into units. Prints requests, seconds and CPU seconds of each step. This is not a test.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.benchmark.figures import markdown
from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.index import copies
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.sources import Source, expand
from pipeline.manifest import settled
from pipeline.manifest.compaction import FILE_ROWS, GROUP_ROWS
from pipeline.manifest.parts import described
from pipeline.manifest.pending import pending
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.manifest.write import write_part
from pipeline.run import lease
from pipeline.run.attempts import attempts
from pipeline.run.rescan import scan
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output
from tests.corpus.crashes import peak_memory
from tests.support.ceph import CephGateway
from tests.support.late_proxy import LateProxy, late_proxy
from tests.support.rows import START, face, result_row

OUTPUT, SCANS = "s3://late/out", "s3://late/scans"
DONE = 0.5  # share of the photos of each archive
ACTORS = 200
PARTS, PER_PART = 500, 8  # small parts that a killed run leaves


def uri(archive: int) -> str:
    return f"{SCANS}/{archive // 1000:03}/box-{archive:06}.tar"


def ids(archive: int, photos: int) -> list[str]:
    """Ids of twenty hex digits, unordered like digests."""
    draw = np.random.default_rng(archive).bytes(10 * photos).hex()
    return [draw[place : place + 20] for place in range(0, len(draw), 20)]


def table(known: dict[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """Columns that are given as one value repeat it; the rest of the columns is null."""

    def column(field: pa.Field) -> pa.Array:
        value = known.get(field.name)
        if isinstance(value, list | np.ndarray):
            return pa.array(value, field.type)
        return pa.repeat(pa.scalar(value, field.type), rows)

    return pa.table([column(field) for field in schema], schema=schema)


def indexed(archive: int, photos: int) -> pa.Table:
    known = {
        "photo_id": ids(archive, photos),
        "source": uri(archive),
        "archive_name": f"box-{archive:06}.tar",
        "source_version": f'{photos << 23} "{archive:032x}"',
        "archive_format": "tar",
        "member": [f"negatives/1927/scan-{archive:06}-{n:05}.tif" for n in range(photos)],
        "occurrence": 0,
        "kind": "file",
        "bytes": 8_000_000,
        "stored_bytes": 8_000_000,
        "offset": np.arange(photos) * 8_000_512,
        "compression": "none",
    }
    return table(known, INDEX_SCHEMA, photos)


def results(index: pa.Table) -> pa.Table:
    """Results of the first photos of an archive."""
    count = int(len(index) * DONE)
    known = {name: index[name].to_pylist()[:count] for name in ("photo_id", "source", "member")}
    known |= {"status": "restored", "page": 1, "pages": 1, "face_count": 1, "finished_at": START, "attempt": 1}
    return table(known | {"sha256": "a" * 64, "bytes": 8_000_000}, MANIFEST_SCHEMA, count)


def parquet(rows: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", **options)
    return bytes(sink.getvalue().to_pybytes())


class Bucket:
    """Puts objects into a bucket that all may write to: unsigned, which costs a tenth of a client's CPU time."""

    def __init__(self, port: int) -> None:
        self.port, self.own = port, threading.local()

    def put(self, key: str, data: bytes) -> None:
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        self.own.connection.request("PUT", f"/late/{key}", data)
        answer = self.own.connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()


def fill(port: int, first: int, last: int, photos: int) -> tuple[str, list[str], list[settled.Settled]]:
    """Archives, as empty objects; their index files and one copy of these; a merged file of their results."""
    bucket = Bucket(port)
    with ThreadPoolExecutor(8) as threads:
        named = {}
        for archive in range(first, last):
            index = indexed(archive, photos)
            name = f"box-{archive:06}.tar-{Source(uri(archive), 'archive').digest}.parquet"
            threads.submit(bucket.put, f"out/index/{name}", parquet(index))
            threads.submit(bucket.put, uri(archive).removeprefix("s3://late/"), b"")
            named[name] = index
        known = [(pa.repeat(name, photos), pa.array(range(photos), pa.int32())) for name in named]
        both = zip(named.values(), known, strict=True)
        rows = [pa.table([*index.columns, *one], copies.COPY_SCHEMA) for index, one in both]
        copy = f"copy-{first:020x}.parquet"
        bucket.put(f"out/index.copies/{copy}", parquet(pa.concat_tables(rows)))
        done = pa.concat_tables(map(results, named.values()))
        merged = []
        for start in range(0, len(done), FILE_ROWS):
            data = parquet(done.slice(start, FILE_ROWS), row_group_size=GROUP_ROWS)
            merged.append(
                described(f"merged-{first + start:020x}.parquet", len(data), pq.read_metadata(pa.BufferReader(data)))
            )
            bucket.put(f"out/manifest/{merged[-1].name}", data)
    return copy, list(named), merged


def fill_all(port: int, archives: int, photos: int) -> None:
    shares = [(n, min(n + copies.COPY_FILES, archives)) for n in range(0, archives, copies.COPY_FILES)]
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        futures = [processes.submit(fill, port, *share, photos) for share in shares]
        made = [future.result() for future in futures]
    place = Output(OUTPUT)
    versions = {name: version for name, _, version in place.index_listing()}
    listed = {copy: {name: versions[name] for name in names} for copy, names, _ in made}
    storage.write_bytes(place.index_json, json.dumps({"format": copies.FORMAT, "copies": listed}, indent=0).encode())
    settled.write_settled(OUTPUT, [one for *_, merged in made for one in merged])
    for part in range(min(PARTS, archives)):
        later = indexed(part, photos).slice(int(photos * DONE), PER_PART).to_pylist()
        known: list[dict[str, Any]] = [
            {**{name: row[name] for name in ("photo_id", "source")}, "attempt": 1, "page": 1} for row in later
        ]
        faces: dict[str, Any] = {"faces": [face(0), face(1)], "face_count": 2, "pages": 1}
        rows = [result_row(row["member"], **faces, **one) for row, one in zip(later, known, strict=True)]
        write_part(rows, OUTPUT, "1")


def start(proxy: LateProxy) -> Iterator[dict[str, Any]]:
    """The steps of a start, each with what it took."""
    kept: dict[str, Any] = {}
    steps: dict[str, Callable[[], Any]] = {
        "list the sources": lambda: kept.update(found=expand([SCANS], OUTPUT)) or len(kept["found"]),
        "scan the index": lambda: kept.update(seen=scan(kept["found"], OUTPUT, Limits())) or kept["seen"].members,
        "leftovers": lambda: lease.remove_leftovers(OUTPUT),
        "what is left": lambda: kept.update(left=pending(OUTPUT, index=kept["seen"].index)) or len(kept["left"]),
        "attempts": lambda: len(attempts(OUTPUT)),
        "units": lambda: len(kept["left"].units(ACTORS)),
    }
    for what, work in steps.items():
        before, begun, cpu = proxy.requests(), time.perf_counter(), time.process_time()
        found = work()
        yield {
            "step": what,
            "requests": proxy.requests() - before,
            "s": time.perf_counter() - begun,
            "CPU s": time.process_time() - cpu,
            "memory MB": peak_memory() >> 20,
            "found": found,
        }


def measured(environment: dict[str, str], proxy: LateProxy) -> None:
    os.environ.update(environment | {"AWS_ENDPOINT_URL": proxy.endpoint})
    rows = []
    for row in start(proxy):
        print(row, flush=True)
        rows.append(row)
    total = {name: sum(row[name] for row in rows) for name in ("requests", "s", "CPU s")}
    print(markdown([*rows, {"step": "all", **total, "memory MB": rows[-1]["memory MB"]}]))


def behind(port: int, environment: dict[str, str], milliseconds: int) -> None:
    with late_proxy(port, milliseconds / 1000) as proxy:
        run = get_context("spawn").Process(target=measured, args=(environment, proxy))
        run.start()
        run.join()
        assert run.exitcode == 0


def main(archives: int = 100_000, milliseconds: int = 30, photos: int = 100) -> None:
    with CephGateway() as gateway:
        os.environ |= gateway.environment
        storage_client.filesystem("s3://late")[0].mkdir("s3://late", acl="public-read-write")
        begun = time.perf_counter()
        fill_all(gateway.rgw_port, archives, photos)
        print(f"{archives} archives, {archives * photos} rows, made in {time.perf_counter() - begun:.0f} s", flush=True)
        behind(gateway.rgw_port, gateway.environment, milliseconds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
