"""Clients of file systems, made from a URI, with retries, settings from the environment and plain errors."""

import os
import random
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from interlcm.errors import one_line
from pipeline.storage import addresses, traffic
from pipeline.storage.errors import StorageError, storage_errors

# A scheme as in RFC 3986 section 3.1. Anything else before "://" belongs to a file name, such as a member's.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# FSSPEC_: settings of the clients, such as FSSPEC_S3_ANON and FSSPEC_S3_REQUESTER_PAYS.
CREDENTIALS = ("AWS_", "GOOGLE_", "AZURE_", "FSSPEC_")
# Two layers of retries. The client repeats a request that was refused or reset, with exponential backoff and full
# jitter (botocore's "standard" mode). `retried` does the same after answers that the client accepts although their
# body broke off or is short.
_REQUESTS = 6  # of the client for one answer; AWS_MAX_ATTEMPTS overrides it
_ATTEMPTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0  # seconds

Result = TypeVar("Result")


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
        raise StorageError(f"{uri}: {one_line(error)}") from error
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
    path = uri.partition("://")[2]
    return fs, path if path.endswith("//") else path.removesuffix("/")  # "a//" is the folder of the key "a//b"


def _retries_of_s3() -> dict[str, Any]:
    mode, requests = os.environ.get("AWS_RETRY_MODE"), os.environ.get("AWS_MAX_ATTEMPTS")
    return {"mode": mode or "standard", "total_max_attempts": int(requests) if requests else _REQUESTS}


def retried(uri: str, work: Callable[[], Result], writing: bool = False) -> Result:
    """The result of `work`, retried with backoff and full jitter while the server cannot be reached.

    Raises StorageError after the last try. It does not stop the run if the server answers another request by then.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with storage_errors(uri, writing):
                return work()
        except StorageError as error:
            if error.reason != "unreachable":
                raise
            last = error
        if attempt < _ATTEMPTS - 1:
            traffic.retries.add(str(last))
            time.sleep(random.uniform(0, min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)))
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
    """What a worker needs: the AWS_*, GOOGLE_* and AZURE_* variables, and the query strings of http(s) sources.

    Secrets: never log them.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith(CREDENTIALS)}
    return variables | addresses.settings()


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
