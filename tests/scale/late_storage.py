"""What a compaction and the copies of an index ask of slow storage:
python -m tests.scale.late_storage [PARTS [ARCHIVES [MS]]]

Puts a made-up run on a real S3 server behind a proxy that answers each request late and counts them. Prints requests
and seconds for the compaction of PARTS parts, and for the copies of the index of ARCHIVES archives. `late_start`
measures the start of a large run. This is not a test.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.index.copies import kept
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.sources import Source
from pipeline.manifest.compaction import compact
from pipeline.manifest.write import write_part
from pipeline.storage import client as storage_client
from tests.support.ceph import CephGateway
from tests.support.late_proxy import LateProxy, late_proxy
from tests.support.rows import face, index_row, result_row

PHOTOS = 100  # of an archive
PER_PART = 8


def source(archive: int) -> str:
    return f"s3://late/scans/box-{archive:05}.tar"


def write(output: str, parts: int, archives: int) -> None:
    """An index of archives, and the parts of its first photos."""
    for archive in range(archives):
        known = {"source": source(archive), "archive_name": f"box-{archive:05}.tar"}
        rows = [index_row(f"{n:03}.jpg", photo_id=f"{archive:015}{n:05}", **known) for n in range(PHOTOS)]
        name = f"box-{archive:05}.tar-{Source(source(archive), 'archive').digest}.parquet"
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), file, compression="zstd")
        storage.write_bytes(storage.join(output, "index", name), file.getvalue())
    for part in range(parts):
        rows = []
        for photo in range(part * PER_PART, (part + 1) * PER_PART):
            archive, n = divmod(photo, PHOTOS)
            result: dict[str, Any] = {"photo_id": f"{archive:015}{n:05}", "source": source(archive), "attempt": 1}
            rows.append(result_row(f"{n:03}.jpg", faces=[face(0), face(1)], face_count=2, page=1, pages=1, **result))
        write_part(rows, output, "1")


def measured(what: str, proxy: LateProxy, per: int, unit: str, work: Callable[[], Any]) -> None:
    before, begun, cpu = proxy.requests(), time.perf_counter(), time.process_time()
    found = work()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    count = proxy.requests() - before
    each = f"{count / per:.2f} for each {unit}"
    print(f"{what:30} {count:6,} requests, {each}, {seconds:.1f} s, {cpu:.1f} s of CPU; {found}", flush=True)


def main(parts: int = 500, archives: int = 500, milliseconds: int = 30) -> None:
    output = "s3://late/out"
    with CephGateway() as gateway:
        os.environ |= gateway.environment
        storage_client.filesystem("s3://late")[0].mkdir("s3://late")
        write(output, parts, archives)
        with late_proxy(gateway.rgw_port, milliseconds / 1000) as proxy:
            storage_client.configure({"AWS_ENDPOINT_URL": proxy.endpoint})
            measured("compaction", proxy, parts, "part", lambda: compact(output))
            measured("copies of the index", proxy, archives, "archive", lambda: len(kept(output).copies))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
