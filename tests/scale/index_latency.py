"""How fast archives on slow storage are indexed: python -m tests.scale.index_latency [MEMBERS [KB [MILLISECONDS]]]

Puts one zip and one tar on a real S3 server behind a proxy that answers each request late, and lists them: the tar also
in one walk from header to header. Prints members per second and the share of the archive that was read.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable

from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.archives import tar_ranges
from pipeline.archives.tar_headers import Walk
from pipeline.benchmark.index import built
from pipeline.config.limits import Limits
from pipeline.storage import client as storage_client
from pipeline.storage import traffic
from tests.support.ceph import CephGateway
from tests.support.late_proxy import late_proxy


def one_walk(uri: str) -> Iterable[object]:
    return Walk(uri, tar_ranges.Ranges(uri, storage.describe(uri)[1])).until(math.inf)


def told(name: str, uri: str, listing: Callable[[str], Iterable[object]]) -> None:
    requests, size, begun = traffic.read.requests, traffic.read.size, time.perf_counter()
    cpu = time.process_time()
    count = sum(1 for _ in listing(uri))
    rate = count / (time.perf_counter() - begun)
    each = 1000 * (time.process_time() - cpu) / count
    reads, read = traffic.read.requests - requests, traffic.read.size - size
    share = read / storage.describe(uri)[1]
    print(
        f"{name:28} {count:,} members, {rate:,.0f}/s, {each:.1f} ms CPU each, {reads:,} reads, {share:.2%} of it read"
    )


def main(members: int = 2000, kilobytes: int = 500, milliseconds: int = 20) -> None:
    with CephGateway() as gateway:
        os.environ |= gateway.environment
        storage_client.filesystem("s3://slow")[0].mkdir("s3://slow")
        for format in ("zip", "tar"):
            storage.write_bytes(f"s3://slow/a.{format}", built(format, members, kilobytes * 1000))
        with late_proxy(gateway.rgw_port, milliseconds / 1000) as proxy:
            storage_client.configure({"AWS_ENDPOINT_URL": proxy.endpoint})
            told("zip", "s3://slow/a.zip", lambda uri: archives.list_members(uri, "zip", Limits()))
            told("tar", "s3://slow/a.tar", lambda uri: archives.list_members(uri, "tar", Limits()))
            told("tar, from header to header", "s3://slow/a.tar", one_walk)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
