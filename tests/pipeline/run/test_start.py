"""What a start that continues a run asks of object storage, before its first photo: counts of requests, not times."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.config.limits import Limits
from pipeline.index import copies
from pipeline.index.sources import expand
from pipeline.manifest.pending import pending
from pipeline.manifest.write import write_part
from pipeline.run.rescan import scan
from tests.support.archives import put, tar_bytes
from tests.support.ceph import CephGateway
from tests.support.fault_proxy import FaultProxy
from tests.support.rows import pending_rows, result_row

ARCHIVES, PARTS = 8, 20


@pytest.mark.usefixtures("fresh_clients")
def test_a_start_lists_the_index_once_and_reads_each_part_once(
    s3: CephGateway, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of archives, as long as they fit in one page of a list and one copy of the index."""
    monkeypatch.setattr(copies, "FEW", 2)
    output = f"{bucket}/out"
    for n in range(ARCHIVES):
        put(f"{bucket}/scans", f"{n}.tar", tar_bytes({f"{n}-{k}.jpg": b"photo" for k in range(4)}))
    scan(expand([f"{bucket}/scans"], output), output, Limits())
    rows = pending_rows(output).to_pylist()
    for row in rows[:PARTS]:
        known = {name: row[name] for name in ("photo_id", "source")}
        write_part([result_row(row["member"], attempt=3, **known)], output, "3")
    asked: Counter[str] = Counter()

    def count(method: str, path: str) -> None:
        folder = "lists" if "list-type" in path else path.rpartition("/")[0].rpartition("/")[2]
        asked[f"{method} {folder}"] += 1

    with FaultProxy(s3.rgw_port, rule=count) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        copies.storage_client.filesystem(output)[0].clear_instance_cache()
        found = expand([f"{bucket}/scans"], output)
        assert asked["GET scans"] == 0  # the archives are not opened
        asked.clear()
        seen = scan(found, output, Limits())
        assert (seen.archives, seen.members) == (ARCHIVES, len(rows))
        assert asked["GET lists"] == 2  # the index and its copies
        assert asked["GET scans"] + asked["HEAD scans"] == 0
        asked.clear()
        left = pending(output, index=seen.index)
    assert (len(left), left.attempt) == (len(rows) - PARTS, 3)
    assert asked["GET manifest"] == PARTS
