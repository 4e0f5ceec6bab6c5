"""How fast archives on slow storage are indexed: python -m tests.index_latency [MEMBERS [KILOBYTES [MILLISECONDS]]]

Puts one zip and one tar on a real S3 server behind a proxy that answers each request late, and lists them: the tar also
in one walk from header to header. Prints members per second and what was read of the archive.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable

from pipeline import archive, storage, tar_ranges, traffic
from pipeline.benchmark.index import built
from pipeline.tar_headers import Walk
from tests.ceph import CephGateway
from tests.fault_proxy import FaultProxy


def one_walk(uri: str) -> Iterable[object]:
    return Walk(uri, tar_ranges.Ranges(uri, storage.describe(uri)[1])).until(math.inf)


def told(name: str, uri: str, listing: Callable[[str], Iterable[object]]) -> None:
    requests, size, begun = traffic.read.requests, traffic.read.size, time.perf_counter()
    count = sum(1 for _ in listing(uri))
    rate = count / (time.perf_counter() - begun)
    share = (traffic.read.size - size) / storage.describe(uri)[1]
    print(f"{name:28} {count:6,} members {rate:8,.0f}/s  {traffic.read.requests - requests:6,} reads {share:7.2%} read")


def main(members: int = 2000, kilobytes: int = 500, milliseconds: int = 20) -> None:
    with CephGateway() as gateway:
        os.environ |= gateway.environment
        storage.filesystem("s3://slow")[0].mkdir("s3://slow")
        for format in ("zip", "tar"):
            storage.write_bytes(f"s3://slow/a.{format}", built(format, members, kilobytes * 1000))
        with FaultProxy(gateway.rgw_port, rule=lambda method, path: "slow", seconds=milliseconds / 1000) as proxy:
            storage.configure({"AWS_ENDPOINT_URL": proxy.endpoint})
            told("zip", "s3://slow/a.zip", lambda uri: archive.list_members(uri, "zip"))
            told("tar", "s3://slow/a.tar", lambda uri: archive.list_members(uri, "tar"))
            told("tar, from header to header", "s3://slow/a.tar", one_walk)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
