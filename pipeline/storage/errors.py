"""One kind of error for all storage, in words that a user can act on."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec

from interlcm.errors import InterLCMError, one_line
from pipeline.storage.answers import BROKEN, THROTTLED, asked_pause, bodiless, error_code, http_status

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
# Error codes of S3 (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) and of the token service that refuse
# who asks, not what is asked for; with the remedy where the cause is sure.
_RENEW = "renew the credentials (AWS_*), then start the same command again"
REFUSED = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"), _RENEW),
    **dict.fromkeys(("InvalidAccessKeyId", "InvalidClientTokenId"), "check AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"),
    **dict.fromkeys(("SignatureDoesNotMatch", "InvalidSignatureException"), "check AWS_SECRET_ACCESS_KEY"),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), "set this machine's clock"),
    **dict.fromkeys(
        ("401", "Unauthorized", "AuthFailure", "AccountProblem", "NotSignedUp", "InvalidSecurity", "InvalidPayer",
         "MissingSecurityHeader", "MissingAuthenticationToken", "UnrecognizedClientException"), ""
    ),
}  # fmt: skip
# What servers say to the checksums that clients send since 2025, if they know none.
_NO_CHECKSUMS = re.compile("checksum|trailer|aws-chunked|content-sha256", re.IGNORECASE)
_CHECKSUMS = "set AWS_REQUEST_CHECKSUM_CALCULATION=WHEN_REQUIRED"
# What is in the way on a disk. EEXIST: of a folder that is to be made.
_KIND = {
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a part of this path is a file, not a folder"),
    errno.EISDIR: "a folder, not a file",
}
# Errors that every other write to the same disk meets too.
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "over the quota", errno.EFBIG: "larger than a file may be here"}


class StorageError(InterLCMError):
    """A failure of storage: one line that names the URI, what happened and the remedy.

    `reason`: "missing", "denied" (this file or folder is closed to us), "credentials" (they are refused, or there are
    none), "unreachable", "throttled" (the server asks for fewer requests; `client.retried` waits as long as it does),
    "full" (no space, over the quota, read-only), "source" (a whole source is gone, closed to us, or another one than
    was indexed) or "failed". pause: seconds for which a throttling server asks to wait.
    """

    def __init__(self, message: str, reason: str = "failed", writing: bool = False, pause: float = 0.0) -> None:
        super().__init__(message)
        self.reason, self.writing, self.pause = reason, writing, pause

    @property
    def stops_run(self) -> bool:
        """Whether every other photo would meet this error too.

        A missing or forbidden member concerns that member alone; a missing or forbidden OUTPUT concerns all photos.
        """
        if self.reason in ("unreachable", "throttled", "credentials", "full", "source"):
            return True
        return self.writing and self.reason in ("missing", "denied")


@contextmanager
def storage_errors(uri: str, writing: bool = False) -> Iterator[None]:
    """Turn a client's exception into a StorageError. It catches all of Exception: each client has its own classes."""
    try:
        yield
    except InterLCMError:
        raise
    except Exception as error:
        reason, words = _reason(uri, error, writing)
        # A client's message about an http(s) address contains its query string.
        shown = None if uri.lower().startswith("http") else error
        raise StorageError(f"{uri}: {words}", reason, writing, asked_pause(error)) from shown


def _reason(uri: str, error: Exception, writing: bool = False) -> tuple[str, str]:
    classes = {cls.__name__ for cls in type(error).__mro__}
    code, said = error_code(error), _said(error)
    answer = code or http_status(error)
    if answer in THROTTLED:
        return "throttled", f"the server asks for slower requests ({answer})"
    if answer in BROKEN:
        return "unreachable", f"the server fails ({said if code else answer}); start again later"
    if "FileNotFoundError" in classes:  # after these: over http(s) fsspec takes every refusal for a missing file
        return "missing", _missing(uri)
    if bodiless(code) and is_s3(uri):
        code, said = _answer_of_listing(uri, code, said)
    if classes & _CREDENTIALS or code in REFUSED:
        remedy = REFUSED.get(code) or _no_credentials(classes)
        return "credentials", f"the credentials are missing or refused ({said})" + (f"; {remedy}" if remedy else "")
    number = getattr(error, "errno", None)
    if number in _FULL:
        return "full", f"{_FULL[number]}; make room, then start the same command again"
    if number in _KIND:
        return "failed", f"{_KIND[number]}; check the name"
    if number == errno.EROFS:
        return "full", "the file system is read-only; remount it, or name another folder"
    if "PermissionError" in classes or code == "AccessDenied":
        return "denied", f"access denied ({said})" if is_s3(uri) else "access denied; check its permissions"
    if bodiless(code) and is_s3(uri):
        return "unreachable", f"the server refuses, and does not say why (HTTP {code})"
    if writing and is_s3(uri) and _knows_no_checksums(code, said):
        return "failed", f"the server takes no checksums ({said}); {_CHECKSUMS}"
    if classes & _UNREACHABLE:
        return "unreachable", f"the server cannot be reached ({said}){_way_to(uri, error)}"
    return "failed", said


def _said(error: Exception) -> str:
    """The server's own words with its code; what the exception says where no server spoke."""
    code, words = error_code(error), one_line(error)
    return f"{code}: {words}" if code and code not in words and words not in ("", "None") else words or code


def _no_credentials(classes: set[str]) -> str:
    """The remedy for a client that found no credentials; a profile that is missing is named by the client's words."""
    if "NoCredentialsError" in classes:
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; FSSPEC_S3_ANON=true for a public bucket"
        )
    return "check AWS_PROFILE and the files that it is in" if "ProfileNotFound" in classes else ""


def _knows_no_checksums(code: str, said: str) -> bool:
    """Whether a server refuses a PUT for the checksums in its header, which is all in it that a server may not know."""
    if os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "").lower() == "when_required":
        return False
    unknown = code in ("NotImplemented", "501") and "header" in said.lower()
    return unknown or (bool(code) and _NO_CHECKSUMS.search(said) is not None)


def _way_to(uri: str, error: Exception) -> str:
    """The remedy for a server that cannot be reached."""
    if "certificate" in one_line(error).lower():
        return "; set AWS_CA_BUNDLE to the file of the authority that signed it" if is_s3(uri) else ""
    return "; check the network and AWS_ENDPOINT_URL" if is_s3(uri) else "; check the network"


def is_s3(uri: str) -> bool:
    return uri.startswith(("s3://", "s3a://"))


def _answer_of_listing(uri: str, code: str, said: str) -> tuple[str, str]:
    """The code and words behind a refusal without a body: the answer to a listing has one."""
    try:
        fsspec.filesystem("s3").call_s3("list_objects_v2", Bucket=uri.split("/")[2], MaxKeys=1)
    except OSError as error:
        found = error_code(error)
        return (code, said) if bodiless(found) or not found else (found, _said(error))
    except Exception:  # the client found no server: then the first answer counts
        return code, said
    return "", said


def _missing(uri: str) -> str:
    """What is missing, file or bucket. S3 answers 404 to both, so the bucket is requested."""
    if uri.startswith(("http://", "https://")):
        return "no such file on the server, or it refuses; check the name, and whether a signed address has expired"
    if is_s3(uri):
        bucket = uri.split("/")[2]
        try:
            fsspec.filesystem("s3").call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            return f"no such bucket: {bucket}; create it, or check its name and AWS_ENDPOINT_URL"
        except OSError:
            return "no such file or bucket; check the name and AWS_ENDPOINT_URL"
    return "no such file or folder; check the name"
