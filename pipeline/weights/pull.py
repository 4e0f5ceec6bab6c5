"""Download of published weights into a weights folder at any fsspec URI, part by part.

A part is downloaded, checked and, where need be, converted beside the folder; then it appears in the folder
whole, and is listed. A pull that was cut short therefore goes on where it stopped.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HTTPError as HubError

from interlcm.convert import convert
from interlcm.weights_index import (
    INDEX,
    WeightsError,
    describe,
    empty_index,
    file_sha256,
    index_bytes,
    merge_index,
    parse_index,
    read_index,
)
from pipeline import storage
from pipeline.storage import client as storage_client
from pipeline.storage.errors import storage_errors
from pipeline.weights.published import METRICS, NOT_PUBLISHED, PUBLISHED, Published, encoder

TIMEOUT = 60  # seconds without a byte
BLOCK = 1 << 20


@dataclass(frozen=True)
class Staged:
    """What one published file adds to the index; `checked`: against a published sha256."""

    entries: list[dict[str, Any]]
    variants: dict[str, Any]
    checked: bool


def pull(
    weights: str,
    variants: Sequence[str] = ("3step",),
    report: Callable[[str], None] = print,
    published: Sequence[Published] = PUBLISHED,
    metrics: bool = False,
) -> None:
    """Get the shared parts, the detectors and the encoders of `variants` that `weights` does not have yet.

    Args:
        weights: path or URI of the weights folder, made when there is none.
        variants: which encoders; published variants are listed in `pipeline.published`.
        report: gets one line for each part.
        published: what there is to get.
        metrics: also the networks that training and evaluation compare pictures with.

    WeightsError in one line, with the way to do it by hand, when a part cannot be had or is not what it
    should be; the folder then holds the parts before it and nothing of this one.
    """
    wanted = [part for part in choose(published, variants) if metrics or not part.path.startswith(METRICS)]
    index = read_remote_index(weights)
    for part in wanted:
        listed = part.path in {entry["path"] for entry in index["parts"]}
        if listed and storage.exists(storage.join(weights, part.path)):
            report(f"{part.path}: there already")
            continue
        with staging(weights) as stage:
            staged = adopt(weights, part) or fetch(part, Path(stage))
            refuse_other_weights(weights, index, part, staged)
            publish(weights, Path(stage), staged)
        index = merge_index(index, staged.entries, staged.variants)
        storage.write_bytes(storage.join(weights, INDEX), index_bytes(index))
        checked = "sha256 as published" if staged.checked else "no sha256 is published, its own is recorded"
        report(f"{part.path}: {checked}")


def choose(published: Sequence[Published], variants: Sequence[str]) -> list[Published]:
    known = sorted({part.variant for part in published if part.variant})
    for variant in variants:
        if variant not in known:
            unnamed = variant in NOT_PUBLISHED
            remedy = by_hand(encoder("visual_encoder", variant)) if unnamed else f"choose {', '.join(known)}"
            raise WeightsError(f"no download address of variant {variant!r} is known; {remedy}")
    return [part for part in published if part.variant is None or part.variant in variants]


def by_hand(part: Published) -> str:
    """What a person can do who cannot, or may not, download from here."""
    if part.part is None:
        return f"put {part.name} from {part.page} at {part.path} of the folder, and pull again"
    options = f"--part {part.part}" + (f" --variant {part.variant}" if part.variant else "")
    return f"get {part.name} from {part.page}, then `interlcm weights convert {part.name} FOLDER {options}`"


def read_remote_index(weights: str) -> dict[str, Any]:
    uri = storage.join(weights, INDEX)
    return parse_index(storage.read_bytes(uri), uri) if storage.exists(uri) else empty_index()


def staging(weights: str) -> TemporaryDirectory[str]:
    """A scratch folder: on the disk of a local weights folder, so that parts move into it in one step."""
    fs, path = storage_client.filesystem(weights)
    if not isinstance(fs, LocalFileSystem):
        return TemporaryDirectory()
    above = next(folder for folder in (Path(path), *Path(path).parents) if folder.is_dir())
    return TemporaryDirectory(prefix=".pulling-", dir=above)


def adopt(weights: str, part: Published) -> Staged | None:
    """A part that a person has put into the folder; None when it is not there."""
    uri = storage.join(weights, part.path)
    if part.part is not None or not storage.exists(uri):
        return None
    fs, path = storage_client.filesystem(uri)
    with fs.open(path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if part.sha256 not in (None, sha256):
        raise WeightsError(f"{uri} has sha256 {sha256}, published is {part.sha256}; remove it and pull again")
    about = {"licence": part.licence, "origin": f"put there by hand, published at {part.origin}"}
    entry = {"path": part.path, "sha256": sha256, "bytes": fs.size(path), **about, "variant": part.variant}
    return Staged([entry], {}, part.sha256 is not None)


def fetch(part: Published, stage: Path) -> Staged:
    """Download one part into `stage`, which becomes a weights folder with nothing else in it."""
    expected = part.sha256 or hub_sha256(part)
    scratch = stage / "download"
    file = download_from_hub(part, scratch) if part.repo else download(part, scratch / part.name)
    sha256 = file_sha256(file)
    if expected not in (None, sha256):
        found = f"{part.origin} has sha256 {sha256}, expected {expected}"
        raise WeightsError(f"{found}: not used; pull again later, or {by_hand(part)}")
    about = {"licence": part.licence, "origin": part.origin}
    if part.part is not None:
        convert(file, stage, part.part, part.variant)
        index = read_index(stage)
        about["origin"] += f", sha256 {sha256}, converted"
        entries = [{**entry, **about} for entry in index["parts"]]
        return Staged(entries, index["variants"], expected is not None)
    (stage / part.path).parent.mkdir(parents=True)
    os.replace(file, stage / part.path)
    entry = describe(stage / part.path, part.path, **about, variant=part.variant)
    return Staged([entry], {}, expected is not None)


def download(part: Published, file: Path) -> Path:
    """GET `part.url` into `file`; WeightsError when it cannot be reached, refuses, or stops too early."""
    file.parent.mkdir(parents=True)
    try:
        request = Request(part.url, headers={"User-Agent": "interlcm"})
        with urlopen(request, timeout=TIMEOUT) as response, file.open("wb") as out:
            while block := response.read(BLOCK):
                out.write(block)
            expected = int(response.headers.get("Content-Length") or file.stat().st_size)
    except HTTPError as error:
        raise WeightsError(f"{part.url} answers {error.code} {error.reason}; {by_hand(part)}") from error
    except (OSError, HTTPException) as error:
        raise unreachable(part, error) from error
    if file.stat().st_size != expected:
        raise WeightsError(f"{part.url} stopped after {file.stat().st_size} of {expected} bytes; pull again")
    return file


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


def download_from_hub(part: Published, folder: Path) -> Path:
    """A file of a hub repository, by the hub's own client, with its mirrors and tokens."""
    try:
        return Path(hf_hub_download(part.repo, part.file, revision=part.revision, local_dir=folder))
    except (OSError, HubError) as error:
        raise unreachable(part, error) from error


def unreachable(part: Published, error: Exception) -> WeightsError:
    cause = getattr(error, "reason", None) or error.__cause__ or error
    reason = " ".join(str(cause).split())[:200]
    remedy = f"connect to the network, or {by_hand(part)}"
    return WeightsError(f"{part.origin} cannot be downloaded ({reason}); {remedy}")


def refuse_other_weights(weights: str, index: dict[str, Any], part: Published, staged: Staged) -> None:
    """WeightsError when a config that comes with the part would replace another one of the folder."""
    here = {entry["path"]: entry["sha256"] for entry in index["parts"] if entry["path"] != part.path}
    other = [p["path"] for p in staged.entries if here.get(p["path"], p["sha256"]) != p["sha256"]]
    if other:
        raise WeightsError(
            f"{weights} holds weights that differ from the published ones ({other[0]}); use a new folder"
        )


def publish(weights: str, stage: Path, staged: Staged) -> None:
    """Move the staged parts into the weights folder, each whole or not at all."""
    for entry in staged.entries:
        file, uri = stage / entry["path"], storage.join(weights, entry["path"])
        if not file.exists():
            continue  # put there by hand
        fs, path = storage_client.filesystem(uri)
        with storage_errors(uri):
            fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            if isinstance(fs, LocalFileSystem):
                os.replace(file, path)
            else:
                fs.put_file(str(file), path)
