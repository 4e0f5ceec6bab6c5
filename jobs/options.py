"""Arguments and options that several commands share."""

import codecs
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from interlcm.errors import one_line
from pipeline.config.settings import FORMAT_NAMES

Thresholds = TypeVar("Thresholds")

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Archives (tar, also .gz, .bz2, .xz and .zst; zip), folders, globs or single images; "
        "paths or URIs (s3://, gs://).",
    ),
]
Output = Annotated[
    str, typer.Option("--output", metavar="OUTPUT", help="Folder or URI of the run. The same OUTPUT continues the run.")
]
Run = Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URI of a run, as given to --output.")]
Weights = Annotated[str, typer.Option(help="Weights folder, a path or URI; demo: the small built-in weights.")]
ColorFix = Annotated[
    Literal["auto", "wavelet", "adain", "none"],
    typer.Option(
        help="How restored faces take the input's colours; auto: wavelet to restore, none to colorize or inpaint."
    ),
]

Actors = Annotated[
    str, typer.Option(metavar="N or MIN:MAX", help="Number of restore actors; each loads the whole model.")
]
GpusPerActor = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs for each actor; fractions are allowed. Default: 1 if there are GPUs."),
]
NoCredentials = Annotated[
    bool,
    typer.Option(
        "--no-credentials",
        help="Send no storage settings (AWS_*, GOOGLE_*, AZURE_*, FSSPEC_*): the nodes have their own.",
    ),
]
Certificate = Annotated[Path | None, typer.Option(metavar="PEM", help="Certificate chain of the key, signer first.")]

Limit = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Limit for untrusted input, such as seconds=120 for one photo."),
]


def from_file(context: typer.Context, file: Path | None) -> Path | None:
    """Read default values of options from a YAML file; typed options override them."""
    if file is None:
        return None
    import yaml

    try:
        values = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise typer.BadParameter(f"{file} cannot be read ({reason})") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "sources"}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise typer.BadParameter(f"{file}: write one `option: value` on each line")
    values = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise typer.BadParameter(f"{file}: no option {unknown[0]}; see {context.command_path} --help")
    context.default_map = {**(context.default_map or {}), **values}
    return file


Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=from_file,
        is_eager=True,
        help="YAML file with options, such as `quality: 90`; typed options override it.",
    ),
]


def code_page(name: str) -> str:
    """Python's name of a code page, such as cp932 for 932."""
    try:
        "".encode(name or "ascii")  # LookupError also for a codec that is none of text, such as zip
        return codecs.lookup(name).name if name else ""
    except LookupError as error:
        raise typer.BadParameter(f"--zip-names {name}: no code page; give one such as cp932, cp936 or cp866") from error


ZipNames = Annotated[
    str,
    typer.Option(
        parser=code_page,
        metavar="CODE_PAGE",
        help="Code page of names in zips that do not say theirs, such as cp932; else UTF-8, or cp437. An archive keeps "
        "the one with which it was indexed.",
    ),
]


Engine = Literal["auto", "here", "ray"]
FORMATS = ("source", "jpeg", "png", "tiff", "webp", "avif")


def image_format(text: str) -> str:
    """One of FORMATS; jpg and tif are other names of jpeg and tiff."""
    name = FORMAT_NAMES.get(text.lower(), text.lower())
    if name not in FORMATS:
        raise typer.BadParameter(f"--format {text}: choose {', '.join(FORMATS)}")
    return name


ImageFormat = Annotated[
    str,
    typer.Option(
        parser=image_format,
        metavar="|".join(FORMATS),
        help="Format of restored photos; source: the photo's own format (png if that cannot be written).",
    ),
]


def thresholds(option: str, defaults: Thresholds, given: list[str]) -> Thresholds:
    """A dataclass of numbers, changed by NAME=VALUE options; typer.BadParameter lists the valid names.

    A whole number is at least 1: with less a limit would refuse every photo, or none.
    """
    known: dict[str, Any] = asdict(defaults)  # type: ignore[call-overload]
    for item in given:
        name, _, text = item.partition("=")
        try:
            known[name] = type(known[name])(text)
        except (KeyError, ValueError):
            names = ", ".join(f"{key} ({with_unit(key, value)})" for key, value in known.items())
            raise typer.BadParameter(f"{option} {item}: give NAME=NUMBER; the names and values: {names}") from None
        if isinstance(known[name], int) and known[name] < 1:
            raise typer.BadParameter(f"{option} {item}: give at least 1")
    return replace(defaults, **known)  # type: ignore[type-var]


def with_unit(name: str, value: float) -> str:
    """A threshold for people: 268 Mpx, 2.1 GB, 60 s, 10,000,000 or 0.75."""
    if name.endswith("pixels"):
        return f"{value / 1e6:.0f} Mpx"
    if name.endswith("bytes"):
        return f"{value / 1e9:.1f} GB"
    return f"{value:,.10g}" + " s" * name.endswith("seconds")
