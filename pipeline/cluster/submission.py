"""Commands of this project as Ray jobs on a cluster, by way of its dashboard: submit, follow, list, stop."""

import asyncio
import importlib.util
import ipaddress
import json
import os
import shlex
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.parse import urlsplit

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient, JobType

from interlcm.errors import InterLCMError, one_line
from pipeline.cluster import sealed_settings
from pipeline.cluster.ray_private import quiet_job_client

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # of the environment; the first counts more
DEFAULT_ADDRESS = "http://127.0.0.1:8265"  # where `ray dashboard cluster.yaml` and kubectl port-forward put it
PACKAGES = ("interlcm", "pipeline", "jobs")
ENTRYPOINT = "python -m jobs "
CONFIG = "config.yaml"

# A spot instance has two minutes; a job that is stopped gives back what it has in flight in less. Ray's 3 s cut it off.
STOP_SECONDS = 30
# Without a line for so long the connection may be dead (a laptop that slept), so a new one is made. A run that is
# under way says something every 10 s.
SILENT_SECONDS = 60.0
# How long a lost connection is tried again: enough to start a port forward anew.
LOST_SECONDS = 600.0


class SubmissionError(InterLCMError):
    """A job cannot be submitted or asked about: one line that names the address or the job, and the remedy."""


class StreamError(Exception):
    """The stream of a log broke off; the job itself may be well."""


class Jobs:
    """The jobs of the cluster whose dashboard is at an address (http://HOST:PORT).

    Everything raises SubmissionError when there is no such cluster, it refuses us, or it has no such job.
    """

    def __init__(self, address: str) -> None:
        self.address = (address if "://" in address else f"http://{address}").rstrip("/")
        self.asks_for_token = asks_for_token(self.address)
        self.token = sealed_settings.token() if self.asks_for_token else ""
        if self.token:
            check_private(self.address)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else None
        with self._answers(), hidden(*ADDRESSES):
            self._client = JobSubmissionClient(self.address, headers=headers)

    def submit(self, command: list[str], settings: dict[str, str], config: Path | None = None) -> str:
        """Start `interlcm COMMAND` with this machine's code and these storage settings; the new job's id.

        The code goes along always, so that what runs is what was tried here; the nodes have what it is built on.
        The command finds a config file as CONFIG in the folder that it is started in.
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
        """Without a token anyone may run a program there, and a seal would keep nothing closed."""
        if not self.asks_for_token:
            raise SubmissionError(
                f"{self.address}: storage settings are only sent to a cluster with token authentication "
                "(RAY_AUTH_MODE=token where it is started); turn it on, or give --no-credentials"
            )

    def follow(self, job_id: str) -> Iterator[str]:
        """The job's log from its beginning, in pieces as they are written, until the job has ended."""
        shown, lost_since = 0, 0.0
        while True:
            try:
                position = 0  # a stream starts at the beginning each time
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
                    words = f"{job_id}: the connection to {self.address} is lost ({one_line(error)}), not the job"
                    raise SubmissionError(f"{words}; interlcm submit logs {job_id} --follow goes on") from error
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
                    raise StreamError("it is silent") from None
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
        """What Ray knows about a job: status, driver_exit_code, message, start_time and end_time in ms."""
        with self._answers(job_id):
            return self._client.get_job_info(job_id)

    def ended(self, job_id: str) -> JobDetails:
        """The same once the job is over."""
        while not (found := self.details(job_id)).status.is_terminal():
            time.sleep(0.2)
        return found

    def log(self, job_id: str) -> str:
        """All that a job has written so far."""
        with self._answers(job_id):
            return self._client.get_job_logs(job_id)

    def all(self) -> list[JobDetails]:
        """The submitted jobs of the cluster, the newest first; not those that joined it on their own."""
        with self._answers():
            found = self._client.list_jobs()
        submitted = [job for job in found if job.type is JobType.SUBMISSION]
        return sorted(submitted, key=lambda job: job.start_time or 0, reverse=True)

    def stop(self, job_id: str) -> bool:
        """Ask a job to end (SIGTERM, and SIGKILL after 30 s); False when it had ended before."""
        with self._answers(job_id):
            return self._client.stop_job(job_id)

    @contextmanager
    def _answers(self, job_id: str = "") -> Iterator[None]:
        """What the client raises, in one line."""
        quiet_job_client()
        try:
            yield
        except AuthenticationError as error:
            raise self._refused(403 if self.token else 401, job_id) from error
        except RuntimeError as error:  # of the client, with the status and the text of the answer
            if "status code 404" in str(error) and job_id:
                raise self._refused(404, job_id) from error
            raise SubmissionError(f"{self.address}: {one_line(error)}") from error
        except OSError as error:
            raise SubmissionError(f"{self.address}: the cluster does not answer ({one_line(error)})") from error

    def _refused(self, status: int, job_id: str) -> SubmissionError:
        if status == 404:
            return SubmissionError(f"{job_id}: no such job at {self.address}; interlcm submit list names them")
        if status == 401:
            words = "the cluster asks for a token, and this machine has none"
        else:
            words = "the cluster refuses the token that is here"
        return SubmissionError(
            f"{self.address}: {words}; put it into ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH"
        )


def check_private(address: str) -> None:
    """SubmissionError where others could read a token on its way: plain http to anything but this machine.

    A proxy of the environment would be such a way, too: none is used for this machine.
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
    """Without these variables, which override the address that Ray's client is given, and not the other way round."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def asks_for_token(address: str) -> bool:
    """Whether the dashboard at an address refuses strangers; SubmissionError when there is no dashboard.

    Asked without the token, before anything else is sent, and with a time limit, which Ray's client lacks.
    """
    remedy = "start the cluster, forward its port (ray dashboard cluster.yaml), or name it with --address"
    if not address.startswith(("http://", "https://")):
        raise SubmissionError(f"{address}: not the address of a dashboard; give --address http://HOST:8265")
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=10) as answer:
            found = json.load(answer)
    except HTTPError as error:
        if error.code in (401, 403):
            return True
        raise SubmissionError(f"{address}: no Ray dashboard, but HTTP {error.code}; {remedy}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)  # of a URLError, another OSError
        raise SubmissionError(f"{address}: no Ray dashboard answers ({one_line(reason)}); {remedy}") from error
    except (HTTPException, ValueError) as error:
        raise SubmissionError(f"{address}: something answers there, but it is not a Ray dashboard; {remedy}") from error
    if "ray_version" not in found:
        raise SubmissionError(f"{address}: something answers there, but it is not a Ray dashboard; {remedy}")
    return False


@contextmanager
def source_tree() -> Iterator[Path]:
    """A folder with the packages of this project as they are here, and nothing else: what a job is started in.

    Their metadata goes along, because results record the version of the software that made them.
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
