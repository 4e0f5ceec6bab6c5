"""Encrypt the storage settings of a submitted job, so that only the cluster that runs it can read them.

Ray shows everything that it knows about a job. The command, environment variables and metadata appear in the job's
details, on the dashboard and in the logs of its runtime environment; the job's package is a file on every node. So the
settings are sent encrypted, in an environment variable. The key is derived from the cluster's authentication token,
which both sides hold and no part of the job contains. This reveals nothing new: whoever has the token can run any
program on the cluster and read the settings from a worker's memory. Without the token the settings stay secret, also
in copies of logs and job histories.

Two alternatives were rejected. A file in the job's package can be read on each node's disk. An actor or object that
passes on the settings needs a second connection to the cluster, beside the one forwarded port, and the same Python on
both sides. It is best to send nothing: nodes with their own role (AWS, Google Cloud) or secret (Kubernetes) renew
short-lived credentials, while a job may outlast the credentials sent with it.
"""

import base64
import hashlib
import json
import os

from cryptography.fernet import Fernet, InvalidToken

from interlcm.errors import InterLCMError, one_line
from pipeline.cluster.own_user import token_file
from pipeline.storage import client as storage_client

VARIABLE = "INTERLCM_SEALED_SETTINGS"  # of a submitted job's environment

_SALT = 16  # bytes; new for each job (RFC 7914, section 2, leaves the length to the application)


class SealError(InterLCMError):
    """Settings cannot be sealed or opened: one line with the remedy."""


def token() -> str:
    """The cluster's authentication token, found where Ray looks for it, in Ray's order; empty if there is none.

    Source: docs.ray.io, "Ray token authentication": RAY_AUTH_TOKEN, else the file RAY_AUTH_TOKEN_PATH, else
    ~/.ray/auth_token; RAY_AUTH_MODE=disabled turns it off.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return ""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    named, path = os.environ.get("RAY_AUTH_TOKEN_PATH"), token_file()
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        if not named:
            return ""
        raise SealError(f"RAY_AUTH_TOKEN_PATH={named}: no such file; name the file with the cluster's token") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SealError(f"{path}: the cluster's token cannot be read ({one_line(error)})") from error


def seal(variables: dict[str, str], token: str) -> str:
    """The variables as printable text, which only the same token can decrypt."""
    salt = os.urandom(_SALT)
    text = json.dumps(variables).encode()
    return f"{base64.urlsafe_b64encode(salt).decode()}.{_cipher(token, salt).encrypt(text).decode()}"


def unseal(sealed: str, token: str) -> dict[str, str]:
    """The variables given to `seal`. Raises SealError if the token differs or the text was changed."""
    salt, _, text = sealed.partition(".")
    try:
        opened = _cipher(token, base64.urlsafe_b64decode(salt)).decrypt(text)
    except (InvalidToken, ValueError):
        raise SealError(
            "the storage settings of this job were sealed with a different token than this cluster's; "
            "submit the job again with the cluster's token, or with --no-credentials"
        ) from None
    return dict(json.loads(opened))


def open_settings() -> None:
    """In a submitted job: use the storage settings sent with it; call this before the first use of storage."""
    storage_client.configure(unseal(os.environ.pop(VARIABLE), token()))


def _cipher(token: str, salt: bytes) -> Fernet:
    """AES-128 and HMAC-SHA256 (Fernet). scrypt stretches the token, as not every token has 256 bits like Ray's own."""
    key = hashlib.scrypt(token.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)  # RFC 7914; 16 MB, about 50 ms
    return Fernet(base64.urlsafe_b64encode(key))
