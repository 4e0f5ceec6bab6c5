"""The alerts of docs/alerts.yaml, on series as a run would give them, evaluated by Prometheus's own promtool.

test_telemetry has a Prometheus that scrapes a node of Ray; the last test here has one that scrapes a cluster.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from pipeline.cluster import telemetry
from tests.support.ceph import free_port
from tests.support.chaos_lab import patiently
from tests.support.prometheus import ALERTS, prometheus

RUN = 'run="s3://b/out", attempt="2"'
PENDING = f"ray_interlcm_pending_photos{{{RUN}}}"
DEMAND = f'ray_interlcm_waiting_demand{{{RUN}, resource="GPU"}}'
NODES = [f'ray_node_cpu_count{{SessionName="s", instance="10.0.0.{number}:8080"}}' for number in range(200)]
LOST = {node: f"8x{40 + number}" for number, node in enumerate(NODES[:5])}  # one a minute, from minute 41

# Alert -> series that raise it after an hour, then those that look alike and do not. All are in promtool's notation: a
# sample each minute, `a+bxN` is a, a+b, ... to N more samples, _ is none, and stale is the end of a series.
CASES: dict[str, tuple[dict[str, str], ...]] = {
    "InterlcmStalled": (
        {f"ray_interlcm_seconds_since_photo{{{RUN}}}": "0+60x60", PENDING: "90x60"},
        {f"ray_interlcm_seconds_since_photo{{{RUN}}}": "0+60x60", PENDING: "0x60"},  # it is done
    ),
    "InterlcmFailing": (
        {
            f'ray_interlcm_failures_total{{{RUN}, error_type="truncated"}}': "0+2x60",
            f'ray_interlcm_photos_total{{{RUN}, status="restored"}}': "0+98x60",
            f'ray_interlcm_photos_total{{{RUN}, status="failed"}}': "0+2x60",
        },
        {  # of an earlier attempt, whose workers are gone; this one fails less
            'ray_interlcm_failures_total{run="s3://b/out", attempt="1"}': "0+50x5 _x55",
            f"ray_interlcm_failures_total{{{RUN}}}": "0+1x60",
            f"ray_interlcm_photos_total{{{RUN}}}": "0+1000x60",
        },
    ),
    "InterlcmStorageThrottled": (
        {f'ray_interlcm_storage_retries_total{{{RUN}, WorkerId="{number}"}}': "0+60x60" for number in range(2)},
        {f"ray_interlcm_storage_retries_total{{{RUN}}}": "0+12x60"},
    ),
    "InterlcmGpuIdle": (
        {f'ray_node_gpus_utilization{{GpuIndex="{number}"}}': "5x60" for number in range(2)} | {PENDING: "90x60"},
        {'ray_node_gpus_utilization{GpuIndex="0"}': "5x60", PENDING: "0x60"},
    ),
    "InterlcmNodesChurn": (
        LOST | dict.fromkeys(NODES[5:10], "_x43 8x16") | {DEMAND: "1x60", PENDING: "90x60"},  # others come
        {node: f"_x{number // 4} 8x60" for number, node in enumerate(NODES)} | {DEMAND: "9x60", PENDING: "90x60"},
        dict.fromkeys(NODES, "8 stale " * 31) | {DEMAND: "1x60", PENDING: "90x60"},  # busy nodes miss scrapes
        LOST | {NODES[5]: "8x60", DEMAND: "0x60", PENDING: "9x60"},  # an autoscaler stops what has nothing to do
        LOST | {DEMAND: "1x40", PENDING: "9x40 stale"},  # the run is over
    ),
}


def fired(series: dict[str, str], alert: str, folder: Path) -> bool:
    """Whether promtool finds the alert firing after an hour of these series."""
    test: dict[str, Any] = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": "60m", "alertname": alert, "exp_alerts": []}],
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) != ("alertname:" in said), said  # any other failure is one of this test
    return done.returncode != 0


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_for_its_trouble_and_for_no_other(alert: str, tmp_path: Path) -> None:
    trouble, *alike = CASES[alert]
    assert fired(trouble, alert, tmp_path)
    assert not any(fired(series, alert, tmp_path) for series in alike)


def test_every_alert_is_tried_and_asks_for_metrics_that_there_are() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == list(CASES)
    asked = {name for rule in rules for name in re.findall(r"ray_(interlcm_\w+?)(?:_total)?\b", rule["expr"])}
    assert asked <= set(telemetry.METRICS)


RUN_ON = """
import sys, time, ray
from pipeline.cluster import telemetry
ray.init(sys.argv[1], log_to_driver=False)
telemetry.label("s3://b/out", 2)
print("here", flush=True)
while time.sleep(1) is None:  # as a run does
    telemetry.progress(100, 90, 5.0)
    telemetry.waiting({"GPU": 1.0})
"""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster whose head lists its nodes for Prometheus, with a driver that waits for a GPU."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # sockets need a short path
        head = {"num_cpus": 0, "include_dashboard": True, "temp_dir": folder}
        nodes = patiently(lambda: Cluster(initialize_head=True, head_node_args=head | {"dashboard_port": free_port()}))
        command = [sys.executable, "-c", RUN_ON, nodes.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
            assert driver.stdout is not None and driver.stdout.readline()  # it belongs to the head, which stays
            yield nodes
            driver.kill()
        nodes.shutdown()


@pytest.mark.slow
def test_nodes_that_come_raise_no_alert_and_nodes_that_are_lost_do(cluster: Any, tmp_path: Path) -> None:
    found = {
        "files": [f"{cluster.head_node.get_temp_dir_path()}/prom_metrics_service_discovery.json"],
        "refresh_interval": "1s",  # it is a symbolic link, so Prometheus does not see when it changes
    }
    with prometheus(tmp_path, {"file_sd_configs": [found]}, windows={"30m": "300s", "5m": "10s"}) as server:
        nodes = [patiently(lambda: cluster.add_node(num_cpus=1, object_store_memory=80 << 20)) for _ in range(5)]
        server.wait(lambda: server.value("count(ray_node_cpu_count offset 10s)") == 6)  # for as long as the short range
        server.wait(lambda: server.value("sum(ray_interlcm_waiting_demand)") == 1)
        assert not server.alerts()
        for node in nodes:
            cluster.remove_node(node, allow_graceful=False)
        server.wait(lambda: bool(server.alerts()))
        (alert,) = server.alerts()
        assert alert["labels"]["alertname"] == "InterlcmNodesChurn" and alert["value"] == "5e+00"
