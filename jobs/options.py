"""Arguments and options that several commands share."""

from typing import Annotated, Literal

import typer

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Archives (tar, tar.gz, tar.bz2, tar.xz, zip), folders, globs or single images; paths or URIs (s3://, gs://).",
    ),
]
Output = Annotated[
    str, typer.Option("--output", metavar="OUTPUT", help="Folder or URI of the run; the same one again continues it.")
]
Run = Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URI of a run: what --output named.")]
Weights = Annotated[str, typer.Option(help="Weights folder, a path or URI; demo: the small ones built in.")]
ColorFix = Annotated[
    Literal["wavelet", "adain", "none"], typer.Option(help="How a face gets the colours of its input back.")
]
