"""A real Prometheus that scrapes Ray's nodes and evaluates the alerts of docs/alerts.yaml."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.ceph import free_port

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.yaml"


@dataclass(frozen=True)
class Prometheus:
    process: subprocess.Popen[bytes]
    port: int

    def ask(self, path: str, **words: str) -> dict[str, Any]:
        """`data` of an answer of its API; nothing before it listens."""
        with suppress(ConnectionError, urllib.error.URLError):
            url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(words)}"
            with urllib.request.urlopen(url) as reply:
                return dict(json.load(reply)["data"])
        return {}

    def alerts(self) -> list[dict[str, Any]]:
        """Those that it raises now."""
        return list(self.ask("alerts").get("alerts", []))

    def value(self, expression: str) -> float | None:
        """The value of an expression with one series, None without one."""
        found = self.ask("query", query=expression).get("result")
        return float(found[0]["value"][1]) if found else None

    def wait(self, done: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None and time.monotonic() < end, self.alerts()
            time.sleep(0.2)


@contextmanager
def prometheus(folder: Path, scraped: dict[str, Any], windows: Mapping[str, str] | None = None) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these targets, and raises at once what it finds.

    scraped: of a scrape_config. windows: range of an expression -> the shorter one that it gets, `5m` -> `5s`.
    """
    groups = yaml.safe_load(ALERTS.read_text())
    for rule in groups["groups"][0]["rules"]:
        rule.pop("for", None)
        for range_, shorter in (windows or {}).items():
            rule["expr"] = rule["expr"].replace(f"[{range_}]", f"[{shorter}]")
    (folder / "alerts.yaml").write_text(yaml.safe_dump(groups))
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "ray", **scraped}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/prometheus"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command) as process:
        try:
            yield Prometheus(process, port)
        finally:
            process.kill()
