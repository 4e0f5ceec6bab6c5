"""Download one published file; an interrupted download resumes where it stopped, also in the next pull."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HTTPError as HubError

from interlcm.weights_index import WeightsError
from pipeline.storage import client as storage_client
from pipeline.weights.published import Published

TIMEOUT = 60  # seconds without data
BLOCK = 1 << 20


def by_hand(part: Published) -> str:
    """The manual remedy if the file cannot be downloaded here."""
    if part.part is None:
        return f"put {part.name} from {part.page} at {part.path} of the folder, and pull again"
    options = f"--part {part.part}" + (f" --variant {part.variant}" if part.variant else "")
    return f"get {part.name} from {part.page}, then `interlcm weights convert {part.name} FOLDER {options}`"


@contextmanager
def place_for(part: Published, weights: str) -> Iterator[Path]:
    """A folder for the download of a part, on the disk of a local weights folder, or else in the user's cache.

    Afterwards it is gone, unless it holds an unfinished download: the next pull finds that.
    """
    fs, path = storage_client.filesystem(weights)
    above = Path(path) if isinstance(fs, LocalFileSystem) else Path.home() / ".cache" / "interlcm"
    folder = above / ".downloads" / hashlib.sha256(part.origin.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if not any(file.stat().st_size for file in folder.glob("*.part")):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty
            folder.parent.rmdir()
            above.rmdir()


def download(part: Published, folder: Path) -> tuple[Path, str]:
    """Download the published file into `folder`; also returns the address it came from.

    Raises WeightsError, one line, if the server cannot be reached, refuses, or stops too early.
    """
    if part.repo:  # the hub's own client starts from the beginning at each call
        url = hf_hub_url(part.repo, part.file, revision=part.revision)
        return get(part, url, folder / part.name), part.origin
    *first, last = part.urls
    for url in first:
        try:
            return get(part, url, folder / part.name), url
        except NotThereError:
            continue
    return get(part, last, folder / part.name), last


class NotThereError(WeightsError):
    """The server answered 404."""


def get(part: Published, url: str, file: Path) -> Path:
    """GET `url` into `file`; resume an earlier try if the server still has the same version."""
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            have, expected = _append(url, out.fileno(), file.with_name(f"{file.name}.version"))
    except BlockingIOError as error:
        raise WeightsError(f"{file}: another pull is downloading this file; wait until it ends") from error
    except HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the file was replaced
            unfinished.unlink()
            return get(part, url, file)
        kind = NotThereError if error.code == 404 else WeightsError
        raise kind(f"{url}: the server answers {error.code} {error.reason}; {by_hand(part)}") from error
    except (OSError, HTTPException) as error:
        raise unreachable(part, error) from error
    if have != expected:
        raise WeightsError(f"{url}: the download stopped after {have:,} of {expected:,} bytes; pull again to resume")
    os.replace(unfinished, file)
    return file


def _append(url: str, out: int, version: Path) -> tuple[int, int]:
    """Append the remaining bytes to `out`; returns how many bytes it has now, and should have.

    version: file with the server's name (ETag) for the version of these bytes.
    """
    have = os.fstat(out).st_size
    headers = {"User-Agent": "interlcm"}
    if have and version.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        if response.status != 206:  # the server sends the whole file
            os.ftruncate(out, 0)
            have = 0
            version.unlink(missing_ok=True)
        tag = response.headers.get("ETag", "")
        if tag.startswith('"'):  # a weak tag, W/"...", does not promise the same bytes
            version.write_text(tag)
        length = response.headers.get("Content-Length")
        begun = have
        while block := response.read(BLOCK):
            have += os.write(out, block)
    return have, begun + int(length) if length else have


def hub_sha256(part: Published) -> str | None:
    """The sha256 that the hub states for a large file of a commit; None for a small file."""
    if not part.repo:
        return None
    try:
        metadata = get_hf_file_metadata(hf_hub_url(part.repo, part.file, revision=part.revision))
    except (OSError, HubError) as error:
        raise unreachable(part, error) from error
    # The entity tag of a small file is git's SHA-1, 40 digits.
    return metadata.etag if metadata.etag and len(metadata.etag) == 64 else None


def unreachable(part: Published, error: Exception) -> WeightsError:
    cause = getattr(error, "reason", None) or error.__cause__ or error
    reason = " ".join(str(cause).split())[:200]
    remedy = f"connect to the network, or {by_hand(part)}"
    return WeightsError(f"{part.origin} cannot be downloaded ({reason}); {remedy}")
