"""Clients of file systems, made from a URI, with retries, settings from the environment and plain errors."""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from interlcm.errors import installs, one_line
from pipeline.storage import addresses, repeats, traffic
from pipeline.storage.errors import StorageError, storage_errors

# A scheme as in RFC 3986 section 3.1. Anything else before "://" belongs to a file name, such as a member's.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# FSSPEC_: settings of the clients, such as FSSPEC_S3_ANON and FSSPEC_S3_REQUESTER_PAYS.
CREDENTIALS = ("AWS_", "GOOGLE_", "AZURE_", "FSSPEC_")
# Those that name files, profiles and servers of this machine: they mean nothing on another one.
_LOCAL = re.compile(
    r"PROFILE|_FILE$|_DIR$|_PATH$|CA_BUNDLE|CONFIG|CONTAINER|APPLICATION_CREDENTIALS|EXECUTION_ENV|EC2_METADATA"
)
# The end of temporary AWS credentials, as `aws configure export-credentials` and aws-vault name it.
_SESSION_ENDS = ("AWS_CREDENTIAL_EXPIRATION", "AWS_SESSION_EXPIRATION")
_EXTRAS = {"gs": "gs", "gcs": "gs", "abfs": "azure", "abfss": "azure", "az": "azure"}  # protocol -> extra that reads it
# Two layers of retries. The client repeats a request that was refused or reset, with exponential backoff and full
# jitter (botocore's "standard" mode). `retried` does the same after that, and after answers that the client accepts
# although their body broke off or is short. A server that cannot be reached is given up after a minute or two. One that
# asks for slower requests is not: each process then asks ever more rarely, down to one round of the client's requests
# in _LONGEST_PAUSE seconds, and at random moments, so that thousands of them do not come back at once.
_REQUESTS = 6  # of the client for one answer; AWS_MAX_ATTEMPTS overrides it
_ATTEMPTS = 5  # at a server that cannot be reached
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 60.0  # seconds

Result = TypeVar("Result")

_kept = False  # whether this process keeps its variables to itself


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI and the path in it. A plain path is local and becomes absolute.

    Chains ("zip://a::s3://b") are deliberately not supported: a member's name could hold one.
    """
    uri = addresses.public(uri)
    match = _SCHEME.match(uri)
    protocol = match[1].lower() if match else "file"
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise StorageError(f"{uri}: unknown protocol {protocol}://; use a path, s3:// or gs://") from error
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"; here and on every node, {installs(extra)}" if extra else ""
        raise StorageError(f"{uri}: {one_line(error)}{remedy}") from error
    if issubclass(kind, LocalFileSystem):
        return kind(), os.path.abspath(os.path.expanduser(uri[match.end() :] if match else uri))
    options = {"config_kwargs": {"retries": _retries_of_s3()}} if "s3" in kind.protocol else {}
    with storage_errors(uri):
        # Workers write while the driver lists, so a cached listing would be wrong.
        fs = kind(use_listings_cache=False, **options, **kind._get_kwargs_from_urls(uri))
    if "s3" not in kind.protocol:
        return fs, addresses.private(kind._strip_protocol(uri))
    fs.split_path = partial(_literal_key, fs)
    fs.retries = 1  # s3fs's own rounds, without jitter, would multiply with botocore's and with `retried`
    if fs.session is None:
        fs.session = repeats.counting_session(fs.kwargs)
    path = uri.partition("://")[2]
    return fs, path if path.endswith("//") else path.removesuffix("/")  # "a//" is the folder of the key "a//b"


def _retries_of_s3() -> dict[str, Any]:
    mode, requests = os.environ.get("AWS_RETRY_MODE"), os.environ.get("AWS_MAX_ATTEMPTS")
    return {"mode": mode or "standard", "total_max_attempts": int(requests) if requests else _REQUESTS}


def retried(uri: str, work: Callable[[], Result], writing: bool = False) -> Result:
    """The result of `work`, retried with backoff and full jitter while the server cannot be reached.

    Raises StorageError after the last try, which does not stop the run if the server answers another request by then.
    While the server asks for slower requests there is no last try.
    """
    tries = broken = 0
    while True:
        try:
            with storage_errors(uri, writing):
                return work()
        except StorageError as error:
            if error.reason not in ("unreachable", "throttled"):
                raise
            last, throttled = error, error.reason == "throttled"
        broken += not throttled
        if broken == _ATTEMPTS:
            break
        traffic.retries.add(str(last), throttled)
        traffic.retries.log(str(last), throttled)
        time.sleep(last.pause + random.uniform(0, min(_FIRST_PAUSE * 2 ** min(tries, 16), _LONGEST_PAUSE)))
        tries += 1
    if _answers(uri):
        raise StorageError(f"{last} (its other files can be reached)") from last.__cause__
    raise last


def _answers(uri: str) -> bool:
    """Whether the bucket of an unreachable file still answers."""
    fs, path = filesystem(uri)
    if "s3" not in fs.protocol:
        return False
    try:
        fs.call_s3("list_objects_v2", Bucket=fs.split_path(path)[0], MaxKeys=1)
    except Exception:  # whatever the client raises, it means no
        return False
    return True


def _literal_key(fs: AbstractFileSystem, path: str) -> tuple[str, str, str | None]:
    """The key with its "?versionId=...", which s3fs would cut off: a member of that name would overwrite another."""
    bucket, key, _ = type(fs).split_path(fs, path.replace("?", "\0"))
    return bucket, key.replace("\0", "?"), None


def environment() -> dict[str, str]:
    """What a worker on another machine needs: the AWS_*, GOOGLE_*, AZURE_* and FSSPEC_* variables that mean something
    there, unless they are `kept`, and the query strings of http(s) sources.

    Secrets: never log them.
    """
    variables = {name: value for name, value in _variables().items() if not _kept and not _is_local(name, value)}
    return variables | addresses.settings()


@contextmanager
def kept(wanted: bool) -> Iterator[None]:
    """If wanted, this process keeps its storage variables to itself inside this block: other machines have their own.

    It goes on using them.
    """
    global _kept
    before, _kept = _kept, wanted
    try:
        yield
    finally:
        _kept = before


def local_variables() -> list[str]:
    """The names of the storage variables that `environment` leaves out, because they concern this machine."""
    return sorted(name for name, value in _variables().items() if not _kept and _is_local(name, value))


def _is_local(name: str, value: str) -> bool:
    """Whether a variable concerns this machine alone: by its name, or because its value is the path of a file here, as
    gcsfs takes one in FSSPEC_GS_TOKEN."""
    return bool(_LOCAL.search(name)) or (os.path.isabs(value) and os.path.isfile(value))


def session_end() -> datetime | None:
    """When this process's temporary AWS credentials end; None if they do not, or if no variable says when."""
    if "AWS_SESSION_TOKEN" not in os.environ:
        return None
    for name in _SESSION_ENDS:
        with suppress(ValueError):
            end = datetime.fromisoformat(os.environ.get(name, ""))
            return end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC)
    return None


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(CREDENTIALS)}


def configure(environment: dict[str, str]) -> None:
    """Use the storage settings of another process. Clients with other settings are dropped."""
    environment = dict(environment)
    if (queries := environment.pop(addresses.VARIABLE, None)) is not None:
        addresses.remember(queries)
    if environment.items() <= os.environ.items():
        return
    os.environ.update(environment)
    fsspec.config.set_conf_env(fsspec.config.conf)  # which reads FSSPEC_* when it is imported
    for kind in fsspec.registry.values():  # fsspec keeps clients by their arguments, not by these
        kind.clear_instance_cache()
