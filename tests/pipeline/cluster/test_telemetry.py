"""Metrics as Prometheus gets them, and the dashboard for them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from pipeline.cluster import telemetry
from tests.support.prometheus import prometheus
from tests.support.rows import result_row

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana.json"
WORK = """
import socket, sys, threading, time, urllib.request
import ray
from pipeline.cluster import telemetry
from tests.support.rows import result_row

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
ray.init("local", num_cpus=1, include_dashboard=False, _metrics_export_port=port, log_to_driver=False,
         _system_config={"metrics_report_interval_ms": 500})
telemetry.label("s3://b/out", 2)
seconds = {"seconds_fetch": 0.25, "seconds_restore": 2.0}
telemetry.photo_finished(result_row("a.jpg", face_count=3, bytes=1000, error_type=None, **seconds))
telemetry.photo_finished(result_row("b.jpg", face_count=1, bytes=24, error_type=None, **seconds))
telemetry.photo_finished(result_row("c.jpg", "failed", error_type="truncated", bytes=None))
telemetry.fetched(1030)
telemetry.decoded("detect")
telemetry.decoded("compose")
telemetry.micro_batch(3, 8, 0.4)
telemetry.micro_batch(8, 8, 0.4)
telemetry.storage_retried(2)
telemetry.progress(100, 90, 1200.5)
telemetry.waiting({"GPU": 1.0})
text, end = "", time.monotonic() + 600
while text.count("# TYPE ray_interlcm_") < len(telemetry.METRICS) and time.monotonic() < end:
    time.sleep(0.2)
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
print(text)
print("totals", telemetry.totals())
print("port", port, flush=True)
over = threading.Event()
threading.Thread(target=lambda: [sys.stdin.read(), over.set()], daemon=True).start()
while not over.wait(0.2):  # photos fail, and storage makes the run repeat a thousand requests
    telemetry.photo_finished(result_row("d.jpg", "failed", error_type="truncated", bytes=None))
    telemetry.storage_retried(1000)
"""


def exported(kind: str) -> str:
    """The names of a metric's samples in Prometheus."""
    return {"Counter": "_total", "Gauge": "", "Histogram": "_bucket"}[kind]


def test_without_ray_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests of this process may have started it
    monkeypatch.setattr(telemetry, "METRICS", {})  # whatever would be counted would be missed
    telemetry.photo_finished(result_row("a.jpg", "failed", error_type="truncated", bytes=10))
    telemetry.micro_batch(1, 8, 0.1)


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A process that counts on and on: what its node exported at first, and where."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"HOME": str(tmp_path)}
    command, pipe = [sys.executable, "-c", WORK], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        said = ""
        while "\nport " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        text, _, port = said.rpartition("port ")
        yield text, f"127.0.0.1:{port.strip()}"
        process.stdin.close()


def test_the_numbers_arrive_at_the_endpoint_of_the_node(at_work: tuple[str, str], tmp_path: Path) -> None:
    exported, address = at_work
    samples: dict[str, float] = {}
    for name, tags, value in re.findall(r"^ray_(interlcm_\w+)\{(.*)\} (\S+)$", exported, re.MULTILINE):
        assert 'run="s3://b/out"' in tags and 'attempt="2"' in tags
        own = re.findall(r'(?:status|stage|error_type|resource|le)="[^"]*"', tags)
        samples[" ".join([name, *own])] = float(value)
    assert samples['interlcm_photos_total status="restored"'] == 2
    assert samples['interlcm_photos_total status="failed"'] == 1
    assert samples["interlcm_faces_total"] == 4
    assert samples['interlcm_failures_total error_type="truncated"'] == 1
    assert samples["interlcm_bytes_total"] == 1024
    assert samples['interlcm_seconds_total stage="fetch"'] == 0.5
    assert samples['interlcm_seconds_total stage="restore"'] == 4
    assert samples['interlcm_photo_seconds_bucket le="0.1" stage="fetch"'] == 0
    assert samples['interlcm_photo_seconds_bucket le="0.3" stage="fetch"'] == 2
    assert samples["interlcm_micro_batch_faces_total"] == 11
    assert samples["interlcm_micro_batch_places_total"] == 16
    assert samples["interlcm_micro_batch_seconds_count"] == 2
    assert samples["interlcm_storage_retries_total"] == 2
    gauges = [samples[f"interlcm_{name}"] for name in ("total_photos", "pending_photos", "seconds_since_photo")]
    assert gauges == [100, 90, 1200.5]
    assert samples['interlcm_waiting_demand resource="GPU"'] == 1
    totals = ast.literal_eval(exported.rpartition("totals ")[2])
    assert totals["interlcm_photos"] == 3 and totals["interlcm_read_bytes"] == 1030 and totals["interlcm_decodes"] == 2
    names = {re.sub("_(total|bucket|sum|count)$", "", sample.partition(" ")[0]) for sample in samples}
    assert names == set(telemetry.METRICS)
    # A Prometheus that scrapes this node raises the alerts, which test_alerts tries with made-up series.
    wanted = {"InterlcmStalled", "InterlcmFailing", "InterlcmStorageThrottled"}
    with prometheus(tmp_path, {"static_configs": [{"targets": [address]}]}) as server:
        server.wait(lambda: wanted <= {alert["labels"]["alertname"] for alert in server.alerts()})
        assert {alert["labels"]["run"] for alert in server.alerts()} == {"s3://b/out"}


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    expressions = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    shown = {name for expression in expressions for name in re.findall(r"\bray_\w+", expression)}
    offered = {f"ray_{name}{exported(kind)}" for name, (kind, _, _) in telemetry.METRICS.items()}
    assert shown == offered


def test_the_dashboard_groups_by_tags_that_there_are() -> None:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            (name, *_) = re.findall(r"\bray_(\w+?)(?:_total|_bucket)?\{", target["expr"])
            assert target["expr"].count('{run=~"$run"}') == target["expr"].count("ray_interlcm_")
            tags = {*telemetry.METRICS[name][2], *telemetry.LABELS, "le"}
            grouped = {tag.strip() for group in re.findall(r"by \((.*?)\)", target["expr"]) for tag in group.split(",")}
            assert grouped <= tags, target["expr"]
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped
