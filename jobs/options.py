"""Arguments and options that several commands share."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
import yaml

Thresholds = TypeVar("Thresholds")

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Archives (tar, also .gz, .bz2, .xz and .zst; zip), folders, globs or single images; paths or URIs (s3://, gs://).",
    ),
]
Output = Annotated[
    str, typer.Option("--output", metavar="OUTPUT", help="Folder or URI of the run. Naming it again continues the run.")
]
Run = Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URI of a run, as given to --output.")]
Weights = Annotated[str, typer.Option(help="Weights folder, a path or URI; demo: the small built-in weights.")]
ColorFix = Annotated[
    Literal["auto", "wavelet", "adain", "none"],
    typer.Option(
        help="How a restored face gets its input's colours back; auto: wavelet to restore, none to colorize or inpaint."
    ),
]

Limit = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Limit for untrusted input, such as seconds=120 for one photo."),
]


def from_file(context: typer.Context, file: Path | None) -> Path | None:
    """Take defaults of options from a YAML file, so typed options win."""
    if file is None:
        return None
    try:
        values = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"--config {file} cannot be read: {error}") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "sources"}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise typer.BadParameter(f"--config {file}: write one `option: value` on each line")
    values = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise typer.BadParameter(f"--config {file}: no option {unknown[0]}; see {context.command_path} --help")
    context.default_map = {**(context.default_map or {}), **values}
    return file


Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=from_file,
        is_eager=True,
        help="YAML file of options (`quality: 90`); typed options win.",
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
            names = ", ".join(f"{key}={value:g}" for key, value in known.items())
            raise typer.BadParameter(f"{option} {item}: give one of these with a number: {names}") from None
        if isinstance(known[name], int) and known[name] < 1:
            raise typer.BadParameter(f"{option} {item}: give at least 1")
    return replace(defaults, **known)  # type: ignore[type-var]
