"""Storage settings on their way to a submitted job, which only the cluster that runs it can read.

Whatever Ray is told about a job is shown around: its command, its environment variables and its metadata stand in the
job's details, on the dashboard and in the logs of its runtime environment, and its package lies as a file on every
node. So the settings travel encrypted, in an environment variable, under a key made from the cluster's authentication
token, which both ends hold and no part of the job repeats. Nobody learns anything new by it: with the token one can
run a program of one's own on the cluster, and read the settings from a worker's memory. Without it they stay closed,
and that goes for copies of logs and job histories too, for as long as the token is secret.

Two other ways were left: a file in the job's package is readable on each node's disk; an actor or object that hands
the settings over needs a second connection to the cluster, past the one port that is forwarded, and the same Python
there and here. Best of all is to send nothing: nodes with a role (AWS, Google Cloud) or a secret (Kubernetes) of their
own keep their credentials short-lived, and a job may last longer than the ones that it would be sent.
"""

import base64
import hashlib
import json
import os
import re

from cryptography.fernet import Fernet, InvalidToken

from interlcm.errors import InterLCMError, one_line
from pipeline.cluster.own_user import token_file
from pipeline.storage import client as storage_client

VARIABLE = "INTERLCM_SEALED_SETTINGS"  # of a submitted job's environment

# These name files, profiles and servers of the machine that submits: elsewhere they would only mislead a client.
_LOCAL = re.compile(
    r"PROFILE|_FILE$|_DIR$|_PATH$|CA_BUNDLE|CONFIG|CONTAINER|APPLICATION_CREDENTIALS|EXECUTION_ENV|EC2_METADATA"
)
_SALT = 16  # bytes, as RFC 7914 section 2 leaves it to the application; new for each job


class SealError(InterLCMError):
    """Settings cannot be sealed or opened: one line with the remedy."""


def settings() -> tuple[dict[str, str], list[str]]:
    """The storage settings of this process that mean something elsewhere, and the names of those that do not."""
    found = storage_client.environment()
    local = sorted(name for name in found if _LOCAL.search(name))
    return {name: value for name, value in found.items() if name not in local}, local


def token() -> str:
    """The cluster's authentication token, empty when there is none; looked for where Ray looks, in Ray's order.

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
    """The variables as printable text that only the same token opens."""
    salt = os.urandom(_SALT)
    text = json.dumps(variables).encode()
    return f"{base64.urlsafe_b64encode(salt).decode()}.{_cipher(token, salt).encrypt(text).decode()}"


def unseal(sealed: str, token: str) -> dict[str, str]:
    """What `seal` was given; SealError when it was another token, or the text was changed."""
    salt, _, text = sealed.partition(".")
    try:
        opened = _cipher(token, base64.urlsafe_b64decode(salt)).decrypt(text)
    except (InvalidToken, ValueError):
        raise SealError(
            "the storage settings that came with this job were sealed with another token than this cluster's; "
            "submit it again with the cluster's own, or with --no-credentials"
        ) from None
    return dict(json.loads(opened))


def open_settings() -> None:
    """In a submitted job: take the storage settings that came with it, before the first use of storage."""
    storage_client.configure(unseal(os.environ.pop(VARIABLE), token()))


def _cipher(token: str, salt: bytes) -> Fernet:
    """AES-128 and HMAC-SHA256 (Fernet). Stretched by scrypt: not every token has the 256 bits that Ray's own have."""
    key = hashlib.scrypt(token.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)  # RFC 7914; 16 MB, about 50 ms
    return Fernet(base64.urlsafe_b64encode(key))
