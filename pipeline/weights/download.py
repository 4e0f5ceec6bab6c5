"""Download of one published file; one that is interrupted goes on where it stopped, in the next pull, too."""

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

TIMEOUT = 60  # seconds without a byte
BLOCK = 1 << 20


def by_hand(part: Published) -> str:
    """What a person can do who cannot, or may not, download from here."""
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
    """The published file in `folder`, and the address it came from.

    WeightsError in one line when it cannot be reached, is refused, or stops too early.
    """
    if part.repo:  # the hub's own client begins anew each time that it is called
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
    """The address answers 404."""


def get(part: Published, url: str, file: Path) -> Path:
    """GET `url` into `file`, from where an earlier try stopped if the server still has the same version."""
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            have, expected = _append(url, out.fileno(), file.with_name(f"{file.name}.version"))
    except BlockingIOError as error:
        raise WeightsError(f"{file}: another pull is downloading it; wait for that one") from error
    except HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the file is another one now
            unfinished.unlink()
            return get(part, url, file)
        kind = NotThereError if error.code == 404 else WeightsError
        raise kind(f"{url} answers {error.code} {error.reason}; {by_hand(part)}") from error
    except (OSError, HTTPException) as error:
        raise unreachable(part, error) from error
    if have != expected:
        raise WeightsError(f"{url} stopped after {have} of {expected} bytes; pull again to go on from there")
    os.replace(unfinished, file)
    return file


def _append(url: str, out: int, version: Path) -> tuple[int, int]:
    """What the server has beyond the bytes in `out`, appended; how many bytes there are now, and should be.

    version: file with the server's name (ETag) for the version that the bytes are of.
    """
    have = os.fstat(out).st_size
    headers = {"User-Agent": "interlcm"}
    if have and version.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        if response.status != 206:  # from the start
            os.ftruncate(out, 0)
            have = 0
            version.unlink(missing_ok=True)
        tag = response.headers.get("ETag", "")
        if tag.startswith('"'):  # a weak one, W/"...", does not promise the same bytes
            version.write_text(tag)
        length = response.headers.get("Content-Length")
        begun = have
        while block := response.read(BLOCK):
            have += os.write(out, block)
    return have, begun + int(length) if length else have


def hub_sha256(part: Published) -> str | None:
    """The sha256 that the hub states for a large file of a commit; for a small one it states none."""
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
