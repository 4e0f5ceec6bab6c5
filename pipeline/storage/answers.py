"""What a server answered, as the exceptions of the clients tell it.

The clients: s3fs and aiobotocore, aiohttp for http(s), gcsfs, adlfs. None of them is imported here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_ASKED = 600.0  # seconds: a server that asks for a longer pause is asked again all the same
# Codes of S3 and of servers with its protocol (AWS, Ceph, MinIO, R2), and HTTP statuses, which are all that the clients
# of Google's and Azure's storage give.
THROTTLED = {
    *("503", "429", "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "ServerBusy"),
    *("Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "TooManyRequests"),
    *("TooManyRequestsException", "BandwidthLimitExceeded"),
}
BROKEN = {"500", "502", "504", "408", "InternalError", "BadGateway", "GatewayTimeout", "RequestTimeout"}


def error_code(error: BaseException | None) -> str:
    """The error code in S3's answer; empty if the client gives none. A number: the answer had no body."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code", ""))
    return ""


def http_status(error: BaseException | None) -> str:
    """The HTTP status that aiohttp (`status`), Azure's SDK (`status_code`) or gcsfs (`code`) gives; else empty."""
    for one in _causes(error):
        for name in ("status", "status_code", "code"):
            found = str(getattr(one, name, ""))
            if len(found) == 3 and found.isdigit():
                return found
    return ""


def bodiless(code: str) -> bool:
    """Whether a code is no more than a refusal's HTTP status: all answers to HEAD are, and those of some proxies."""
    return code.isdigit() and code not in ("404", "412", "416", *THROTTLED)


def asked_pause(error: BaseException | None) -> float:
    """Seconds for which the server asks to wait (Retry-After, RFC 9110 section 10.2.3), LONGEST_ASKED at most."""
    for one in _causes(error):
        for name, value in _headers(one).items():
            if str(name).lower() == "retry-after":
                return min(max(0.0, _seconds(str(value))), LONGEST_ASKED)
    return 0.0


def _headers(error: BaseException) -> Mapping[Any, Any]:
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of botocore
        found = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    else:
        found = getattr(error, "headers", None) or getattr(response, "headers", None)
    return found if isinstance(found, Mapping) else {}


def _seconds(value: str) -> float:
    """Retry-After is a number of seconds or a date."""
    if value.strip().isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
