"""One kind of error for all storage, in words that a user can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec

from interlcm.errors import InterLCMError, one_line

# Exceptions of the clients (botocore, aiohttp, socket, gcsfs) by class name, so that none of these is imported here.
_UNREACHABLE = {
    *("ConnectionError", "ClientConnectionError", "HTTPClientError", "TimeoutError", "gaierror"),
    # An answer that broke off, or that is shorter than the file.
    *("ClientPayloadError", "IncompleteReadError", "IncompleteRead", "ResponseParserError", "ShortReadError"),
}
_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError"),
    *("TokenRetrievalError", "SSOError", "DefaultCredentialsError", "RefreshError"),
}
# Error codes of S3 (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) and of the token service.
_REFUSED = {
    *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken"),
    *("RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired"),
}
_THROTTLED = {"503", "429", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"}
_BROKEN = {"500", "502", "504", "InternalError", "BadGateway", "GatewayTimeout", "RequestTimeout"}
# Errors that every other write to the same disk meets too.
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "over the quota", errno.EFBIG: "larger than a file may be here"}


class StorageError(InterLCMError):
    """A failure of storage: one line that names the URI, what happened and the remedy.

    `reason`: "missing", "denied" (this file or folder is closed to us), "credentials" (they are refused, or there are
    none), "unreachable" (also: the server asks to slow down), "full" (no space, over the quota, read-only), "source" (a
    whole source is gone, closed to us, or another one than was indexed) or "failed".
    """

    def __init__(self, message: str, reason: str = "failed", writing: bool = False) -> None:
        super().__init__(message)
        self.reason, self.writing = reason, writing

    @property
    def stops_run(self) -> bool:
        """Whether every other photo would meet this error too.

        A missing or forbidden member concerns that member alone; a missing or forbidden OUTPUT concerns all photos.
        """
        if self.reason in ("unreachable", "credentials", "full", "source"):
            return True
        return self.writing and self.reason in ("missing", "denied")


@contextmanager
def storage_errors(uri: str, writing: bool = False) -> Iterator[None]:
    """Turn a client's exception into a StorageError. It catches all of Exception: each client has its own classes."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        reason, words = _reason(uri, error)
        # A client's message about an http(s) address contains its query string.
        shown = None if uri.lower().startswith("http") else error
        raise StorageError(f"{uri}: {words}", reason, writing) from shown


def _reason(uri: str, error: Exception) -> tuple[str, str]:
    classes = {cls.__name__ for cls in type(error).__mro__}
    if "FileNotFoundError" in classes:
        return "missing", _missing(uri)
    code = error_code(error)
    if code == "403" and uri.startswith(("s3://", "s3a://")):
        code = _code_of_listing(uri)
    if classes & _CREDENTIALS or code in _REFUSED:
        words = f"the credentials are missing or refused ({code or type(error).__name__})"
        return "credentials", f"{words}; renew those in the environment (AWS_*, GOOGLE_*, AZURE_*)"
    number = getattr(error, "errno", None)
    if number in _FULL:
        return "full", f"{_FULL[number]}; make room, then start the same command again"
    if number == errno.EROFS:
        return "full", "the file system is read-only; remount it, or name another folder"
    if "PermissionError" in classes:
        return "denied", "access denied; check its permissions and, for object storage, the credentials"
    if code in _THROTTLED:
        return "unreachable", f"the server asks to slow down ({code}); start again later or with fewer actors"
    if code in _BROKEN:
        return "unreachable", f"the server fails ({code}); start again later"
    if classes & _UNREACHABLE:
        words = f"the server cannot be reached ({one_line(error)})"
        return "unreachable", f"{words}; check the network and AWS_ENDPOINT_URL"
    return "failed", one_line(error)


def error_code(error: BaseException | None) -> str:
    """The error code in the server's answer; empty if the client gives none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code", ""))
        error = error.__cause__ or error.__context__
    return ""


def _code_of_listing(uri: str) -> str:
    """The error code behind a 403: the answer to HEAD has no body, the answer to GET says why."""
    try:
        fsspec.filesystem("s3").call_s3("list_objects_v2", Bucket=uri.split("/")[2], MaxKeys=1)
    except OSError as error:
        return error_code(error)
    return "403"


def _missing(uri: str) -> str:
    """What is missing, file or bucket. S3 answers 404 to both, so the bucket is requested."""
    if uri.startswith(("http://", "https://")):
        return "no such file on the server, or it refuses; check the name, and whether a signed address has expired"
    if uri.startswith(("s3://", "s3a://")):
        bucket = uri.split("/")[2]
        try:
            fsspec.filesystem("s3").call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            return f"no such bucket: {bucket}; create it, or check its name and AWS_ENDPOINT_URL"
        except OSError:
            return "no such file or bucket; check the name and AWS_ENDPOINT_URL"
    return "no such file or folder; check the name"
