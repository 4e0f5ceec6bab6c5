"""Run commands of this project as Ray jobs on a cluster, through its dashboard: submit, follow, list, stop."""

import asyncio
import importlib.util
import ipaddress
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient, JobType

from interlcm.errors import one_line
from pipeline.cluster import dashboard, sealed_settings
from pipeline.cluster.dashboard import SubmissionError
from pipeline.cluster.ray_private import quiet_job_client

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # environment variables; the first has priority
DEFAULT_ADDRESS = "http://127.0.0.1:8265"  # as `ray dashboard cluster.yaml` and kubectl port-forward use
PACKAGES = ("interlcm", "pipeline", "jobs")
ENTRYPOINT = "python -m jobs "
CONFIG = "config.yaml"

# A stopped job needs up to this long to commit the photos in progress; Ray's default of 3 s would cut it off.
STOP_SECONDS = 30
# After this long without a line, the connection may be dead (a laptop slept), so it is renewed. A run prints a line
# every 10 s.
SILENT_SECONDS = 60.0
# A lost connection is retried for this long: enough time to restart a port forward.
LOST_SECONDS = 600.0


class StreamError(Exception):
    """The stream of a log broke off; the job itself may be fine."""


class Jobs:
    """The jobs of the cluster whose dashboard is at an address (http://HOST:PORT).

    Every method raises SubmissionError if the cluster does not answer, refuses access, or has no such job.
    """

    def __init__(self, address: str) -> None:
        self.address = (address if "://" in address else f"http://{address}").rstrip("/")
        dashboard.check_no_password(self.address)
        headers = dashboard.job_headers()
        self.asks_for_token = dashboard.asks_for_token(self.address, headers)
        self.token = sealed_settings.token() if self.asks_for_token else ""
        if self.token:
            check_private(self.address)
            taken = any(name.lower() == "authorization" for name in headers)  # by the proxy
            headers["X-Ray-Authorization" if taken else "Authorization"] = f"Bearer {self.token}"
        with self._answers(), hidden(*ADDRESSES):
            self._client = JobSubmissionClient(self.address, headers=headers)

    def submit(self, command: list[str], settings: dict[str, str], config: Path | None = None) -> str:
        """Start `interlcm COMMAND` with this machine's code and these storage settings. Returns the new job's id.

        The code is always sent, so the cluster runs the same code as this machine; nodes need only the dependencies. A
        config file is sent as CONFIG, in the command's working directory.
        """
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
        if settings:
            self._check_sealed()
            variables[sealed_settings.VARIABLE] = sealed_settings.seal(settings, self.token)
        with source_tree() as folder, self._answers():
            if config:
                shutil.copyfile(config, folder / CONFIG)
            return self._client.submit_job(
                entrypoint=ENTRYPOINT + shlex.join(command),
                runtime_env={"working_dir": str(folder), "env_vars": variables},
            )

    def _check_sealed(self) -> None:
        """Refuse a cluster without a token: anyone can run a program there, so sealing would protect nothing."""
        if not self.asks_for_token:
            raise SubmissionError(
                f"{self.address}: storage settings are only sent to a cluster with token authentication "
                "(start it with RAY_AUTH_MODE=token); turn it on, or give --no-credentials"
            )

    def follow(self, job_id: str) -> Iterator[str]:
        """The job's log from its beginning, in pieces as they are written, until the job ends."""
        shown, lost_since = 0, 0.0
        while True:
            try:
                position = 0  # each stream starts at the beginning of the log
                for text in self._stream(job_id):
                    new = text[max(0, shown - position) :]
                    position += len(text)
                    shown, lost_since = max(shown, position), 0.0
                    if new:
                        yield new
                return
            except StreamError as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > LOST_SECONDS:
                    words = f"{job_id}: lost the connection to {self.address} ({one_line(error)}), the job may go on"
                    raise SubmissionError(f"{words}; continue with interlcm submit logs {job_id} --follow") from error
                time.sleep(1.0)

    def _stream(self, job_id: str) -> Iterator[str]:
        stream = self._client.tail_job_logs(job_id)

        async def piece() -> str | None:
            return await asyncio.wait_for(anext(stream, None), SILENT_SECONDS)

        with asyncio.Runner() as runner:
            while True:
                try:
                    text = runner.run(piece())
                except TimeoutError:
                    raise StreamError("no output") from None
                except aiohttp.WSServerHandshakeError as error:
                    if error.status in (401, 403, 404):
                        raise self._refused(error.status, job_id) from error
                    raise StreamError(one_line(error)) from error
                except (aiohttp.ClientError, OSError, RuntimeError) as error:
                    raise StreamError(one_line(error)) from error
                if text is None:
                    return
                yield text

    def details(self, job_id: str) -> JobDetails:
        """Ray's details of a job: status, driver_exit_code, message, start_time and end_time in ms."""
        with self._answers(job_id):
            return self._client.get_job_info(job_id)

    def ended(self, job_id: str) -> JobDetails:
        """Wait until the job ends, and return its details."""
        while not (found := self.details(job_id)).status.is_terminal():
            time.sleep(0.2)
        return found

    def log(self, job_id: str) -> str:
        """The whole log of a job so far."""
        with self._answers(job_id):
            return self._client.get_job_logs(job_id)

    def all(self) -> list[JobDetails]:
        """The submitted jobs of the cluster, newest first, without drivers that joined it directly."""
        with self._answers():
            found = self._client.list_jobs()
        submitted = [job for job in found if job.type is JobType.SUBMISSION]
        return sorted(submitted, key=lambda job: job.start_time or 0, reverse=True)

    def stop(self, job_id: str) -> bool:
        """Ask a job to end (SIGTERM, and SIGKILL after 30 s); False if it had already ended."""
        with self._answers(job_id):
            return self._client.stop_job(job_id)

    @contextmanager
    def _answers(self, job_id: str = "") -> Iterator[None]:
        """Turn the client's errors into SubmissionError, one line each."""
        quiet_job_client()
        try:
            yield
        except AuthenticationError as error:
            raise self._refused(403 if self.token else 401, job_id) from error
        except RuntimeError as error:  # from the client, with the status and the text of the answer
            if "status code 404" in str(error) and job_id:
                raise self._refused(404, job_id) from error
            raise SubmissionError(f"{self.address}: {one_line(error)}") from error
        except OSError as error:
            raise SubmissionError(f"{self.address}: the cluster does not answer ({one_line(error)})") from error

    def _refused(self, status: int, job_id: str) -> SubmissionError:
        if status == 404:
            return SubmissionError(f"{job_id}: no such job at {self.address}; list the jobs with interlcm submit list")
        if status == 401:
            words = "the cluster requires a token, and this machine has none"
        else:
            words = "the cluster refuses this machine's token"
        return SubmissionError(
            f"{self.address}: {words}; put the token into ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH"
        )


def check_private(address: str) -> None:
    """SubmissionError if others could read the token on its way: with plain http to another machine.

    A proxy could read it, too, so none is used for this machine.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if here:
        others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        os.environ["no_proxy"] = ",".join(filter(None, [others, host]))
    elif parts.scheme != "https":
        words = "the cluster's token would cross the network unencrypted"
        remedy = "forward the port (ray dashboard cluster.yaml, ssh -L, kubectl port-forward), or use https"
        raise SubmissionError(f"{address}: {words}; {remedy}")


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Remove these variables inside this block: they would override the address given to Ray's client."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def source_tree() -> Iterator[Path]:
    """A temporary folder with the packages of this project and nothing else: a job's working directory.

    It includes the package metadata, because results record the software version.
    """
    with TemporaryDirectory(prefix="interlcm-") as name:
        folder = Path(name)
        for package in PACKAGES:
            found = importlib.util.find_spec(package)
            assert found is not None and found.origin is not None
            shutil.copytree(Path(found.origin).parent, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        metadata = folder / f"interlcm-{version('interlcm')}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: interlcm\nVersion: {version('interlcm')}\n")
        yield folder
