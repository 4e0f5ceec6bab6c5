"""model_index.json, the list of the parts of a weights folder, and whether the files match it.

    {"format": 1, "image_size": 512,
     "variants": {"3step": {"steps": [2, 3, 4], "task": "restore"}},
     "parts": [{"path": "clip/config.json", "sha256": "...", "bytes": 421, "licence": "MIT", "origin": "...",
                "variant": null}]}

A part is one file, its path relative to the folder; a part whose variant is null serves all variants.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from interlcm.errors import InterLCMError

# The small weights that ship with the package, in the same layout as any other weights folder.
DEMO = "demo"  # stands for the weights that come with the package, wherever a weights folder is named
DEMO_WEIGHTS = Path(__file__).parent / "demo_weights"
INDEX = "model_index.json"
FORMAT = 1
# The parts that every variant shares; each variant adds one file to visual_encoder/ and to spatial_encoder/.
SHARED = (
    "lcm/unet/config.json",
    "lcm/unet/diffusion_pytorch_model.safetensors",
    "lcm/vae/config.json",
    "lcm/vae/diffusion_pytorch_model.safetensors",
    "lcm/scheduler/scheduler_config.json",
    "clip/config.json",
    "clip/model.safetensors",
    "visual_encoder/config.json",
    "spatial_encoder/config.json",
)
ENCODERS = ("visual_encoder", "spatial_encoder")
# Here loaders choose files by name, so a file that is not listed could be used unchecked.
CLOSED_FOLDERS = ("lcm", "clip", "face", "background", "metrics")
NOT_THE_MODEL = ("face/", "background/", "metrics/")  # these files do not change the model's results
GET = "get it with `interlcm weights pull` or `interlcm weights convert`"
PUBLISHED_VARIANTS: dict[str, dict[str, Any]] = {
    "3step": {"steps": [2, 3, 4], "task": "restore"},
    "1step": {"steps": [2], "task": "restore"},
    "colorization_1step": {"steps": [2], "task": "colorize"},
    "inpainting_1step": {"steps": [2], "task": "inpaint"},
}


class WeightsError(InterLCMError):
    """Weights that cannot be used: one line that names the file or key, and the remedy."""


def encoder_paths(variant: str) -> tuple[str, ...]:
    return tuple(f"{encoder}/{variant}.safetensors" for encoder in ENCODERS)


def empty_index(image_size: int = 512) -> dict[str, Any]:
    """The index of a folder without parts; `image_size` is the side of the face crops, px."""
    return {"format": FORMAT, "image_size": image_size, "variants": {}, "parts": []}


def read_index(folder: Path) -> dict[str, Any]:
    """model_index.json of a local weights folder; WeightsError when there is none or it cannot be read."""
    file = folder / INDEX
    try:
        return parse_index(file.read_bytes(), str(file))
    except OSError as error:
        remedy = "name a weights folder, or fill one with `interlcm weights pull FOLDER`"
        raise WeightsError(f"{file} cannot be read ({error.strerror}); {remedy}") from error


def parse_index(data: bytes, name: str) -> dict[str, Any]:
    """The index in `data`; WeightsError, naming the file as `name`, if this version cannot read it."""
    try:
        index: dict[str, Any] = json.loads(data)
        form, parts, variants = index["format"], index["parts"], index["variants"]
        whole = all(isinstance(part[key], str) for part in parts for key in ("path", "sha256"))
        whole = whole and isinstance(index["image_size"], int) and index["image_size"] > 0
        whole = whole and all(map(is_variant, variants.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{name} is damaged ({error!r}); pull or save the weights again") from error
    if form == FORMAT and not whole:
        raise WeightsError(f"{name} is damaged (a field of another kind); pull or save the weights again")
    if form != FORMAT:
        expected = f"not format {FORMAT}, which this version reads"
        raise WeightsError(f"{name} has format {form!r}, {expected}; pull or save the weights again")
    for part in parts:
        if not is_inside(part["path"]):
            raise WeightsError(f"{name} lists {part['path']!r}, outside the folder; do not use these weights")
    return index


def is_variant(about: dict[str, Any]) -> bool:
    """Whether an entry of `variants` has its steps and its task."""
    steps = about["steps"]
    return bool(steps) and all(isinstance(one, int) and one > 0 for one in steps) and isinstance(about["task"], str)


def is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\\" not in path


def merge_index(index: dict[str, Any], parts: Iterable[dict[str, Any]], variants: dict[str, Any]) -> dict[str, Any]:
    """`index` with `parts` and `variants` added; those with the same path or name are replaced."""
    merged = {part["path"]: part for part in [*index["parts"], *parts]}
    return {
        **index,
        "variants": dict(sorted({**index["variants"], **variants}.items())),
        "parts": [merged[path] for path in sorted(merged)],
    }


def index_bytes(index: dict[str, Any]) -> bytes:
    return (json.dumps(index, indent=2) + "\n").encode()


def write_index(folder: Path, index: dict[str, Any]) -> None:
    """Write model_index.json whole or not at all."""
    temporary = folder / f".{INDEX}.{os.getpid()}"
    temporary.write_bytes(index_bytes(index))
    os.replace(temporary, folder / INDEX)


def describe(file: Path, path: str, licence: str, origin: str, variant: str | None) -> dict[str, Any]:
    """The index entry of a local file that lies, or will lie, at `path` of a weights folder."""
    entry = {"path": path, "sha256": file_sha256(file), "bytes": file.stat().st_size}
    return {**entry, "licence": licence, "origin": origin, "variant": variant}


def file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parts_of(index: dict[str, Any], variant: str) -> list[dict[str, Any]]:
    """The parts that `variant` uses, in order of path; WeightsError when the folder has no such variant."""
    if variant not in index["variants"]:
        there = ", ".join(index["variants"]) or "none"
        raise WeightsError(f"these weights have no variant {variant!r} (they have: {there}); pull or convert it")
    return [part for part in index["parts"] if part.get("variant") in (None, variant)]


def verify(folder: Path, variant: str | None = None) -> list[str]:
    """Compare a local weights folder with its index.

    Args:
        folder: the weights folder.
        variant: check what this variant uses; everything when None.

    Returns:
        One line per problem, naming the file and the remedy; empty if every part is there, is listed and
        matches its sha256. WeightsError if there is no readable index or no such variant.
    """
    index = read_index(folder)
    parts = index["parts"] if variant is None else parts_of(index, variant)
    variants = list(index["variants"]) if variant is None else [variant]
    problems = unlisted(folder, index, variants)
    problems += [problem for part in parts if (problem := part_problem(folder, part))]
    return problems + loose_problems(folder, index)


def unlisted(folder: Path, index: dict[str, Any], variants: Sequence[str]) -> list[str]:
    """A line for each file that these variants need and the index lacks."""
    listed = {part["path"] for part in index["parts"]}
    wanted = dict.fromkeys(path for name in variants for path in (*SHARED, *encoder_paths(name)))
    return [f"{folder / path} is missing; {GET}" for path in wanted if path not in listed]


def loose_problems(folder: Path, index: dict[str, Any]) -> list[str]:
    """A line for each file that the index does not list, in folders that may hold only listed ones."""
    listed = {part["path"] for part in index["parts"]}
    return [
        f"{folder / path} is not listed in {INDEX}; remove it, or list it with `interlcm weights pull`"
        for path in loose_files(folder)
        if path not in listed
    ]


def missing_files(folder: Path, listed: Iterable[str]) -> list[str]:
    """A line for each of these paths where there is no file."""
    return [f"{folder / path} is missing; {GET}" for path in listed if not (folder / path).is_file()]


def part_problem(folder: Path, part: dict[str, Any]) -> str | None:
    file = folder / part["path"]
    if not file.is_file():
        return f"{file} is missing; {GET}"
    return None if file_sha256(file) == part["sha256"] else mismatch(file)


def mismatch(file: Path) -> str:
    return f"{file} does not match the sha256 in {INDEX}; remove it and {GET}"


class Parts:
    """The files of a local weights folder. The bytes that are compared with the index are the bytes that are used.

    Attributes:
        folder: the weights folder.
        index: the result of one `read_index`. A worker gets the driver's, so that a later change of both the folder
            and its index is noticed.
    """

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self.folder, self.index = folder, index
        self._sha256 = {part["path"]: part["sha256"] for part in index["parts"]}

    def __contains__(self, path: str) -> bool:
        """Whether the index lists this path, relative to the folder."""
        return path in self._sha256

    def read(self, path: str) -> bytes:
        """All bytes of a listed file. WeightsError, with the file and the remedy, for one that is not as listed."""
        file = self.folder / path
        if path not in self:
            raise WeightsError(f"{file} is not listed in {INDEX}; {GET}")
        try:
            data = file.read_bytes()
        except OSError as error:
            raise WeightsError(f"{file} cannot be read ({error.strerror}); {GET}") from error
        if hashlib.sha256(data).hexdigest() != self._sha256[path]:
            raise WeightsError(mismatch(file))
        return data


def loose_files(folder: Path) -> list[str]:
    """Paths of all files, except hidden ones, in folders that may hold only listed files."""
    found = (file for name in CLOSED_FOLDERS for file in sorted((folder / name).rglob("*")))
    return [file.relative_to(folder).as_posix() for file in found if file.is_file() and not file.name.startswith(".")]


def digest(folder: Path, variant: str) -> str:
    """sha256 over path and sha256 of the parts of the model of `variant`; NOT_THE_MODEL is left out."""
    return digest_of(read_index(folder), variant)


def digest_of(index: dict[str, Any], variant: str) -> str:
    """`digest` of the folder that has this index."""
    parts = parts_of(index, variant)
    lines = sorted(f"{p['path']} {p['sha256']}\n" for p in parts if not p["path"].startswith(NOT_THE_MODEL))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def opened(folder: "str | Path | Parts") -> Parts:
    """The parts of a local weights folder, or of "demo", as its index lists them now. Raises WeightsError."""
    if isinstance(folder, Parts):
        return folder
    place = DEMO_WEIGHTS if folder == DEMO else Path(folder)
    return Parts(place, read_index(place))
