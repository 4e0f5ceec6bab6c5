"""The requests that the S3 client itself repeats, counted with the events of botocore."""

from __future__ import annotations

from typing import Any

from interlcm.errors import without_secrets
from pipeline.storage import traffic
from pipeline.storage.answers import BROKEN, THROTTLED

_KEPT = "interlcm"  # where a request's context has the reason for its repetition


def counting_session(settings: dict[str, Any]) -> Any:
    """A session of aiobotocore whose clients tell `traffic.retries` of each request that they repeat."""
    from aiobotocore.session import AioSession  # late: it comes with s3fs, which has imported it by now

    session = AioSession(**settings)
    session.register("needs-retry.s3", _failed)
    session.register("request-created.s3", _created)
    return session


def _failed(request_dict: dict[str, Any], response: Any, caught_exception: Exception | None, **_: Any) -> None:
    """Keep why a request failed. The client asks at this event whether to repeat it; None leaves that to others.

    response: the HTTP answer and what was read from it, or None.
    """
    if caught_exception is not None:
        reason = type(caught_exception).__name__
    else:
        status = str(response[0].status_code)
        reason = str(response[1].get("Error", {}).get("Code", "")) or status
        if not {reason, status} & (THROTTLED | BROKEN):
            return
    request_dict["context"][_KEPT] = reason


def _created(request: Any, **_: Any) -> None:
    """Count a request that is made anew after it failed."""
    reason = request.context.pop(_KEPT, None)
    if reason is None:
        return
    throttled, address = reason in THROTTLED, request.url.partition("?")[0]
    words = f"the server asks for slower requests ({reason})" if throttled else reason
    traffic.retries.add(without_secrets(f"{request.method} {address}: {words}"), throttled)
