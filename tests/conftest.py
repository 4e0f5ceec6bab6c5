"""Fixtures that several test folders share."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ceph import ACCESS_KEY, SECRET_KEY, CephGateway, missing_programs

if TYPE_CHECKING:
    from tests.support.networks import FacexlibNetworks
    from tests.support.schedule import ByWhatIsShared


# Python looks through all objects when their number has grown by a quarter. Here, with every library in one process,
# this takes up to a second each time, and took a third of the tests' CPU time in some files. So it does it more rarely.
gc.set_threshold(50_000, 10, 20)
# Ray gives its workers the niceness 15: beside busy programs they would get a hundredth of a core, and tests time out.
os.environ.setdefault("RAY_worker_niceness", "0")
# Ray looks for new log files ten times a second, though no test waits for lines of workers, and at all processes every
# five seconds, which takes CPU time from the tests.
for name, value in {
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "5",
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
}.items():
    os.environ.setdefault(name, value)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByWhatIsShared | None:
    """With --dist loadfile: each process takes whole files, and files that share a cluster or a browser together."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.support.schedule import ByWhatIsShared

    return ByWhatIsShared(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that lie here come first: they run whole commands, and a long file at the end has a process to itself."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(scope="session")
def ceph_gateway() -> Iterator[CephGateway]:
    """A real S3 server for the whole test run. Without Ceph's programs, tests are skipped; if CI is set, they fail."""
    missing = missing_programs()
    if missing and os.environ.get("CI"):
        pytest.fail(f"no Ceph for the S3 tests: {', '.join(missing)} not found; .ci/run installs them")
    if missing:
        pytest.skip(f"needs a Ceph object gateway: {', '.join(missing)} not found (.ci/run lists the packages)")
    with CephGateway() as gateway:
        yield gateway


@pytest.fixture
def s3(ceph_gateway: CephGateway, monkeypatch: pytest.MonkeyPatch) -> CephGateway:
    """The S3 server, with the AWS_* variables of this process pointing to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ceph_gateway.environment.items():
        monkeypatch.setenv(name, value)
    return ceph_gateway


@pytest.fixture(scope="session")
def new_bucket(ceph_gateway: CephGateway) -> Callable[[], str]:
    """Makes an empty bucket on the S3 server, by one client for all, and returns its URI."""
    import s3fs

    account = {"key": ACCESS_KEY, "secret": SECRET_KEY}
    client = s3fs.S3FileSystem(endpoint_url=ceph_gateway.endpoint, skip_instance_cache=True, **account)

    def make() -> str:
        uri = f"s3://test-{uuid.uuid4().hex[:12]}"
        client.mkdir(uri)
        return uri

    return make


@pytest.fixture
def bucket(s3: CephGateway, new_bucket: Callable[[], str]) -> str:
    """The URI of a new, empty bucket on the S3 server."""
    return new_bucket()


@pytest.fixture(scope="module")
def module_bucket(ceph_gateway: CephGateway, new_bucket: Callable[[], str]) -> Iterator[str]:
    """One bucket for a whole module, with the AWS_* variables of this process pointing to its server."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ceph_gateway.environment.items():
            patch.setenv(name, value)
        yield new_bucket()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """fsspec keeps one client for each set of arguments, which do not include the environment."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A weights folder for crops of 32 px, in which real modules have random weights."""
    from tests.support.tiny import weights_folder

    folder = tmp_path_factory.mktemp("tiny") / "weights"
    weights_folder(folder)
    return str(folder)


@pytest.fixture(scope="session")
def face_networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FacexlibNetworks]:
    """facexlib's networks with random weights, and the folder of their files, 370 MB, for all tests to read."""
    from tests.support.networks import write_face_networks

    folder = tmp_path_factory.mktemp("face")
    return folder, write_face_networks(folder)


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cluster of a run with two actors, one for the whole test run, with a temporary HOME."""
    import ray

    from pipeline.cluster import connect as cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # Keep workers for the next stage: by default Ray ends idle ones after a second, and each start takes seconds.
        patch.setenv("RAY_idle_worker_killing_time_threshold_ms", "30000")
        patch.setenv("RAY_worker_maximum_startup_concurrency", "4")  # Ray warns at some multiples of this
        cluster.connect(actors=2)
        yield
        ray.shutdown()


@pytest.fixture(scope="module", autouse=True)
def _ray_in_modules_that_ask_for_it(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module without the shared cluster works like a process without Ray, whatever tests ran before; so do the
    fixtures that its tests share."""
    items = (item for item in request.session.items if item.path == request.path)
    with pytest.MonkeyPatch.context() as patch:
        if not any("ray_cluster" in getattr(item, "fixturenames", ()) for item in items):
            without_ray(patch)
        yield


@pytest.fixture(autouse=True)
def _ray_where_it_is_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the other modules, each test without the shared cluster works so, too."""
    if "ray_cluster" not in request.fixturenames:
        without_ray(monkeypatch)


def without_ray(patch: pytest.MonkeyPatch) -> None:
    from pipeline.cluster import connect as cluster

    patch.setattr(cluster, "running", lambda: False)
