"""How long the files of a large scan take to a bucket: python -m tests.scale.late_tiles [MS]

Writes the report's tiles of a scan of 12,000 x 9,000 px, and a IIIF export's files of a photo of 4,000 x 3,000 px, to a
real S3 server behind a proxy that answers each request MS milliseconds late, one by one and as the commands do. This is
not a test.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from pipeline import storage
from pipeline.export.tiles import pyramid
from pipeline.report.display_copies import deep
from pipeline.storage import client as storage_client
from tests.support.ceph import CephGateway
from tests.support.late_proxy import LateProxy, late_proxy
from tests.support.pictures import Pixels


def scan(width: int, height: int, sigma: float = 6.0) -> Pixels:
    """A slope with grain. sigma: of the grain, of 255."""
    grain = np.random.default_rng(0).normal(0, sigma, (height, width, 1))
    slope = np.linspace(40, 200, width)[None, :, None] + np.zeros((1, 1, 3))
    return np.clip(slope + grain, 0, 255).astype(np.uint8)


def compared(what: str, proxy: LateProxy, files: dict[str, bytes]) -> None:
    begun = time.perf_counter()
    for name, data in files.items():
        storage.publish(f"s3://late/single/{what}/{name}", data)
    single = time.perf_counter() - begun
    before, begun = proxy.requests(), time.perf_counter()
    storage.publish_all(f"s3://late/many/{what}", files)
    many = time.perf_counter() - begun
    assert proxy.requests() - before == len(files)
    size = sum(map(len, files.values())) / 1e6
    took = f"one by one {single:.1f} s, together {many:.1f} s: {single / many:.1f} x"
    print(f"{what}: {len(files)} files, {size:.0f} MB; {took}")


def main(milliseconds: int = 30) -> None:
    large, photo = scan(12000, 9000), scan(4000, 3000)
    exported: dict[str, bytes] = {}
    for side in ("before", "after"):
        pyramid(photo, side, "https://images.example.org/iiif", exported)
    tiles = deep({"before": large, "after": large})
    with CephGateway() as gateway:
        os.environ |= gateway.environment
        storage_client.filesystem("s3://late")[0].mkdir("s3://late")
        with late_proxy(gateway.rgw_port, milliseconds / 1000) as proxy:
            storage_client.configure({"AWS_ENDPOINT_URL": proxy.endpoint})
            compared("tiles", proxy, tiles)
            compared("iiif", proxy, exported)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
