"""One kind of error for all storage, in words a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

import fsspec

# Exceptions of the clients (botocore, aiohttp, socket, gcsfs), by class name: none of them is imported here.
_UNREACHABLE = {"ConnectionError", "ClientConnectionError", "HTTPClientError", "TimeoutError", "gaierror"}
_DENIED = {"PermissionError", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}


class StorageError(Exception):
    """Storage could not do it: one line that names the URI, what happened and the remedy.

    `reason`: "missing", "denied", "unreachable" or "failed".
    """

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


@contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn what a client raises into a StorageError. All of Exception: each client has classes of its own."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        reason, words = _reason(uri, error)
        raise StorageError(f"{uri}: {words}", reason) from error


def _reason(uri: str, error: Exception) -> tuple[str, str]:
    classes = {cls.__name__ for cls in type(error).__mro__}
    if "FileNotFoundError" in classes:
        return "missing", _missing(uri)
    if classes & _DENIED:
        return "denied", "access denied; check its permissions and, for object storage, the credentials"
    if classes & _UNREACHABLE:
        words = f"the server cannot be reached ({one_line(error)})"
        return "unreachable", f"{words}; check the network and AWS_ENDPOINT_URL"
    return "failed", one_line(error)


def _missing(uri: str) -> str:
    """What exactly is not there. S3 answers 404 to both, so the bucket is asked for."""
    if uri.startswith(("s3://", "s3a://")):
        bucket = uri.split("/")[2]
        try:
            fsspec.filesystem("s3").call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            return f"no such bucket: {bucket}; create it, or check its name and AWS_ENDPOINT_URL"
        except OSError:
            return "no such file or bucket; check the name and AWS_ENDPOINT_URL"
    return "no such file or folder; check the name"


def one_line(error: Exception) -> str:
    """What an exception says, on one line."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return text or type(error).__name__
