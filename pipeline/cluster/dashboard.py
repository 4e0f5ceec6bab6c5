"""The dashboard of a cluster, and what may stand before it: asked who it is before anything is sent there."""

import json
import os
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from interlcm.errors import InterLCMError, one_line

REMEDY = "start the cluster, forward its port (ray dashboard cluster.yaml), or name it with --address"
LOGIN = "put the header that it asks for into RAY_JOB_HEADERS, as a JSON object"


class SubmissionError(InterLCMError):
    """A job cannot be submitted or asked about: one line that names the address or the job, and the remedy."""


def check_no_password(address: str) -> None:
    """SubmissionError, without the password, for an address that has one: addresses are printed and logged."""
    parts = urlsplit(address)
    before, found, host = parts.netloc.rpartition("@")
    if found:
        words = "the address holds credentials; leave them out, and put them into RAY_JOB_HEADERS, as a JSON object"
        raise SubmissionError(f"{parts.scheme}://{host}: {words}")


def job_headers() -> dict[str, str]:
    """What RAY_JOB_HEADERS says, as for Ray's own commands: headers for a proxy before the dashboard. They may be
    secret, so no message has them."""
    try:
        headers = json.loads(os.environ.get("RAY_JOB_HEADERS") or "{}")
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise SubmissionError('RAY_JOB_HEADERS: not a JSON object of texts, such as {"Cookie": "session=..."}')
    return headers


def asks_for_token(address: str, headers: dict[str, str]) -> bool:
    """Whether the dashboard at an address requires a token. Raises SubmissionError if there is no dashboard.

    Asked without the token, before anything else is sent, and with a time limit, which Ray's client lacks.
    """
    if not address.startswith(("http://", "https://")):
        raise SubmissionError(f"{address}: not the address of a dashboard; give --address http://HOST:8265")
    url = f"{address}/api/version"
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.build_opener(_Here).open(request, timeout=10) as answer:
            found = json.load(answer)
    except HTTPError as error:
        return _refused(address, error)
    except OSError as error:
        reason = getattr(error, "reason", error)  # of a URLError, another OSError
        words = f"no Ray dashboard answers ({one_line(reason)}){_by_way(address)}"
        raise SubmissionError(f"{address}: {words}; {REMEDY}") from error
    except (HTTPException, ValueError) as error:
        raise SubmissionError(f"{address}: something answers there, but it is not a Ray dashboard; {REMEDY}") from error
    if "ray_version" not in found:
        raise SubmissionError(f"{address}: something answers there, but it is not a Ray dashboard; {REMEDY}")
    return False


class _Here(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: the headers would go along."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _refused(address: str, error: HTTPError) -> bool:
    """True for a dashboard that asks for a token, by its words; others that refuse stand before it."""
    if error.code in (401, 403) and b"authentication token" in error.read(4096).lower():
        return True
    who = error.headers.get("Server", "")
    who = f"HTTP {error.code}{f' from {who}' if who else ''}{_by_way(address)}"
    if 300 <= error.code < 400:
        host = urlsplit(error.headers.get("Location", "")).netloc.rpartition("@")[2]
        raise SubmissionError(
            f"{address}: a proxy before the dashboard sends on to {host or 'itself'}; {LOGIN}"
        ) from error
    if error.code in (401, 403, 407):
        raise SubmissionError(f"{address}: a proxy before the dashboard refuses ({who}); {LOGIN}") from error
    raise SubmissionError(f"{address}: not a Ray dashboard ({who}); {REMEDY}") from error


def _by_way(address: str) -> str:
    """The proxy of this machine's environment that a request goes by; its URL may hold a password."""
    parts = urlsplit(address)
    if parts.scheme not in urllib.request.getproxies() or urllib.request.proxy_bypass(parts.netloc):
        return ""
    return f", by way of {parts.scheme}_proxy, which NO_PROXY={parts.hostname} leaves out"
