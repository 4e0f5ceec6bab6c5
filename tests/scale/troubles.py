"""What a person on call sees in six staged troubles: `python -m tests.scale.troubles [NAME ...]`.

Each is a real run of the command on a cluster of raylets on this machine, in a folder of its own: a few minutes, and
five more for no-gpu, which waits until the run says what to check. docs/cluster.md shows what they print.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.archives import put, tar_bytes
from tests.support.fault_proxy import FaultProxy, mounted
from tests.support.pictures import coffee, encoded, hopper
from tests.support.tiny import weights_folder

PATIENCE = 900.0  # seconds for a run on a busy machine
ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """A cluster with a head without CPUs, and a run on it that writes its output to a file."""

    folder: Path
    environment: dict[str, str]
    cluster: Any
    driver: subprocess.Popen[bytes] | None = None
    nodes: list[Any] = field(default_factory=list)

    def add_node(self, **options: Any) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=2, object_store_memory=100 << 20, **options))

    def archive(self, folder: str, count: int) -> str:
        """Few photos have a face: on a CPU that others use too, faces take their time."""
        face, none = encoded(hopper(96)), encoded(coffee(96))
        return put(folder, "scans.tar", tar_bytes({f"{n:03}.jpg": none if n % 50 else face for n in range(count)}))

    def start(self, *words: str) -> None:
        print(f"$ interlcm restore {' '.join(words)}", flush=True)
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "jobs", "restore", *words]
            self.driver = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=ROOT)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace").replace(str(self.folder), "").replace(self.cluster.address, "HEAD")

    @property
    def ended(self) -> bool:
        assert self.driver is not None
        return self.driver.poll() is not None

    def wait(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not self.ended and not done():
            assert time.monotonic() < end, self.text
            time.sleep(0.2)

    def finish(self) -> None:
        """Print what the run said, once it has ended by itself."""
        self.wait(lambda: False)
        assert self.driver is not None
        print(f"{self.text}(exit code {self.driver.returncode})", flush=True)

    def ask(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "jobs", *words], env=self.environment, capture_output=True, text=True, cwd=ROOT
        )
        print(f"$ interlcm {' '.join(words)}\n{done.stdout}{done.stderr}".replace(str(self.folder), ""), flush=True)


@contextmanager
def staged(**settings: str) -> Iterator[Stage]:
    from ray.cluster_utils import Cluster

    with TemporaryDirectory(prefix="interlcm-") as name:
        folder = Path(name)
        os.environ.update({"RAY_AUTH_MODE": "disabled", "HOME": name, **settings})
        weights_folder(folder / "weights")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        stage = Stage(folder, {**os.environ, "RAY_ADDRESS": cluster.address}, cluster)
        try:
            yield stage
        finally:
            if stage.driver is not None:
                stage.driver.kill()
                stage.driver.wait()
            cluster.shutdown()


def no_gpu() -> None:
    with staged() as stage:
        stage.add_node()
        source, output = stage.archive(str(stage.folder), 5), f"{stage.folder}/out"
        stage.start(source, "--output", output, "--weights", "~/weights", "--actors", "1", "--gpus-per-actor", "1")
        stage.wait(lambda: "check: " in stage.text)
        stage.ask("status", output)
        print(stage.text)


def storage_down() -> None:
    """The gateway answers no request from the third committed part on."""
    with on_s3() as (stage, proxy):
        proxy.rule = lambda method, path: "reset"
        stage.finish()
        proxy.rule = None
        stage.ask("status", "s3://archive/out")


def slow_down() -> None:
    """The gateway asks for slower requests for three minutes, first whatever is asked of it, then now and then."""
    with on_s3() as (stage, proxy):
        begun, asked = time.monotonic(), [0]

        def rule(method: str, path: str) -> str | None:
            asked[0] += 1
            passed = time.monotonic() - begun
            return "slow_down" if passed < 100 or (passed < 180 and asked[0] % 3) else None

        proxy.rule = rule
        stage.wait(lambda: time.monotonic() - begun > 150)
        stage.ask("status", "s3://archive/out")
        stage.finish()


@contextmanager
def on_s3() -> Iterator[tuple[Stage, FaultProxy]]:
    """A run with sources and OUTPUT in a bucket, after its third committed part."""
    import s3fs

    from pipeline import storage
    from tests.support.ceph import CephGateway

    with CephGateway() as gateway, FaultProxy(gateway.rgw_port) as proxy:
        settings = gateway.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
        with staged(**settings) as stage:
            s3fs.S3FileSystem(endpoint_url=gateway.endpoint).mkdir("s3://archive")
            stage.add_node()
            source = stage.archive("s3://archive/in", 200)
            stage.start(source, "--output", "s3://archive/out", "--weights", "~/weights", "--actors", "1")
            manifest = "s3://archive/out/manifest"
            stage.wait(lambda: storage.exists(manifest) and len(storage.list_files(manifest)) >= 3)
            yield stage, proxy


def full_disk() -> None:
    with staged() as stage, mounted(stage.folder / "disk", "size=400k") as disk:
        stage.add_node()
        source = stage.archive(str(stage.folder), 400)
        stage.start(source, "--output", f"{disk}/out", "--weights", "~/weights", "--actors", "1")
        stage.finish()


def bad_weights() -> None:
    """Another weights folder on one of two nodes, as in an image that was not renewed."""
    with staged() as stage:
        other = stage.folder / "other"
        weights_folder(other / "weights", seed=1)
        stage.add_node()
        stage.add_node(env_vars={"HOME": str(other)})
        source, output = stage.archive(str(stage.folder), 200), f"{stage.folder}/out"
        stage.start(source, "--output", output, "--weights", "~/weights", "--actors", "2")
        stage.finish()


def spot_storm() -> None:
    """Every node is lost, again and again; new ones come half a minute later."""
    chance = random.Random(0)
    with staged() as stage:
        stage.add_node()
        stage.add_node()
        source, output = stage.archive(str(stage.folder), 400), f"{stage.folder}/out"
        stage.start(source, "--output", output, "--weights", "~/weights", "--actors", "1:2")
        stage.wait(lambda: list((stage.folder / "out" / "manifest").glob("*.parquet")))
        for _ in range(2):
            while stage.nodes and not stage.ended:
                node = stage.nodes.pop(chance.randrange(len(stage.nodes)))
                stage.cluster.remove_node(node, allow_graceful=False)
            time.sleep(30)
            stage.ask("status", output)
            if not stage.ended:
                stage.add_node()
                stage.add_node()
                time.sleep(30)
        stage.finish()


STAGED = (no_gpu, storage_down, slow_down, full_disk, bad_weights, spot_storm)
TROUBLES = {f.__name__.replace("_", "-"): f for f in STAGED}


def main() -> None:
    for name in sys.argv[1:] or TROUBLES:
        print(f"\n## {name}\n", flush=True)
        TROUBLES[name]()


if __name__ == "__main__":
    main()
