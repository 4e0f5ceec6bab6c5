"""Download published weights into a weights folder at any fsspec URI, part by part.

A part is downloaded, checked and, if necessary, converted outside the folder. Then it appears in the folder whole, and
is listed. An interrupted pull resumes where it stopped, even inside a file.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsspec.implementations.local import LocalFileSystem

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
from pipeline.weights.download import by_hand, download, hub_sha256, place_for
from pipeline.weights.published import METRICS, PUBLISHED, Published


@dataclass(frozen=True)
class Staged:
    """The index entries of one published file. checked: its sha256 matches a published one."""

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
    """Download the shared parts, the detectors and the encoders of `variants` that `weights` does not have yet.

    Args:
        weights: path or URI of the weights folder; created if it does not exist.
        variants: whose encoders to download; `pipeline.weights.published` lists them.
        report: gets one line for each part.
        published: the files to choose from.
        metrics: also download the networks of the metrics, for training and evaluation.

    Raises WeightsError, one line with a manual remedy, if a part cannot be downloaded or has the wrong sha256. The
    folder then holds the parts before it and nothing of this part.
    """
    wanted = [part for part in choose(published, variants) if metrics or not part.path.startswith(METRICS)]
    index = read_remote_index(weights)
    for part in wanted:
        listed = part.path in {entry["path"] for entry in index["parts"]}
        if listed and storage.exists(storage.join(weights, part.path)):
            report(f"{part.path}: already there")
            continue
        with staging(weights) as stage:
            staged = adopt(weights, part) or fetch(part, weights, Path(stage))
            refuse_other_weights(weights, index, part, staged)
            publish(weights, Path(stage), staged)
        index = merge_index(index, staged.entries, staged.variants)
        storage.write_bytes(storage.join(weights, INDEX), index_bytes(index))
        checked = "sha256 as published" if staged.checked else "no published sha256; recorded the file's own"
        report(f"{part.path}: {checked}")


def choose(published: Sequence[Published], variants: Sequence[str]) -> list[Published]:
    known = sorted({part.variant for part in published if part.variant})
    for variant in variants:
        if variant not in known:
            raise WeightsError(f"no variant {variant!r} is published; choose one of {', '.join(known)}")
    return [part for part in published if part.variant is None or part.variant in variants]


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
    """A part that someone put into the folder by hand; None if it is not there."""
    uri = storage.join(weights, part.path)
    if part.part is not None or not storage.exists(uri):
        return None
    fs, path = storage_client.filesystem(uri)
    with fs.open(path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if part.sha256 not in (None, sha256):
        raise WeightsError(f"{uri} has sha256 {sha256}, expected {part.sha256}; remove the file and pull again")
    about = {"licence": part.licence, "origin": f"put there by hand, published at {part.origin}"}
    entry = {"path": part.path, "sha256": sha256, "bytes": fs.size(path), **about, "variant": part.variant}
    return Staged([entry], {}, part.sha256 is not None)


def fetch(part: Published, weights: str, stage: Path) -> Staged:
    """Download one part into `stage`, which becomes a weights folder with only this part."""
    expected = part.sha256 or hub_sha256(part)
    with place_for(part, weights) as folder:
        file, origin = download(part, folder)
        sha256 = file_sha256(file)
        if expected not in (None, sha256):
            found = f"{origin} has sha256 {sha256}, expected {expected}"
            raise WeightsError(f"{found}; pull again later, or {by_hand(part)}")
        return staged_from(file, part, stage, {"licence": part.licence, "origin": origin}, sha256, expected is not None)


def staged_from(file: Path, part: Published, stage: Path, about: dict[str, str], sha256: str, checked: bool) -> Staged:
    """The downloaded file as a part of the weights folder `stage`, unchanged or converted."""
    if part.part is not None:
        convert(file, stage, part.part, part.variant, sha256)
        index = read_index(stage)
        about["origin"] += f", sha256 {sha256}, converted"
        entries = [{**entry, **about} for entry in index["parts"]]
        return Staged(entries, index["variants"], checked)
    (stage / part.path).parent.mkdir(parents=True)
    shutil.move(file, stage / part.path)
    entry = describe(stage / part.path, part.path, **about, variant=part.variant)
    if entry["sha256"] != sha256:
        raise WeightsError(f"{file} was changed while it was taken over; pull again")
    return Staged([entry], {}, checked)


def refuse_other_weights(weights: str, index: dict[str, Any], part: Published, staged: Staged) -> None:
    """Raise WeightsError if a config that comes with the part would replace a different one in the folder."""
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
