"""The alerts of docs/alerts.yaml, on series as a run would give them, evaluated by Prometheus's own promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cluster import telemetry

ALERTS = Path(__file__).parents[3] / "docs" / "alerts.yaml"
RUN = 'run="s3://b/out", attempt="2"'
PENDING = f"ray_interlcm_pending_photos{{{RUN}}}"
NODES = [f'ray_node_cpu_count{{SessionName="s", ip="10.0.0.{number}"}}' for number in range(4)]

# Alert -> series that raise it after an hour, and series that look alike and do not. Both are in promtool's notation: a
# sample each minute, `a+bxN` is a, a+b, ... to N more samples, _ is none, and stale is the end of a series.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
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
        dict.fromkeys(NODES[:3], "8x60") | {NODES[3]: "8 stale " * 31, PENDING: "90x60"},
        dict.fromkeys(NODES, "8x60") | {PENDING: "90x60"},
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
    trouble, alike = CASES[alert]
    assert fired(trouble, alert, tmp_path)
    assert not fired(alike, alert, tmp_path)


def test_every_alert_is_tried_and_asks_for_metrics_that_there_are() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == list(CASES)
    asked = {name for rule in rules for name in re.findall(r"ray_(interlcm_\w+?)(?:_total)?\b", rule["expr"])}
    assert asked <= set(telemetry.METRICS)
