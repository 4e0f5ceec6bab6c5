"""`interlcm weights`: fill or check a weights folder."""

import sys
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from interlcm.weights_index import digest, read_index
from interlcm.weights_index import verify as differing
from jobs.counted import counted
from jobs.lazy import WholeGroup
from pipeline.weights.local import weights_folder

app = typer.Typer(
    name="weights",
    cls=WholeGroup,
    help="Fill a weights folder with published weights, or check one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


class Part(StrEnum):
    VISUAL_ENCODER = "visual_encoder"
    SPATIAL_ENCODER = "spatial_encoder"
    CLIP = "clip"


Weights = Annotated[str, typer.Argument(metavar="WEIGHTS", help="Weights folder: a path or URI (s3://, gs://).")]


@app.command()
def pull(
    weights: Weights,
    variant: Annotated[
        list[str],
        typer.Option(
            "--variant", help="Variant: 3step, 1step, colorization_1step or inpainting_1step. Repeat for more."
        ),
    ] = ["3step"],  # noqa: B006 (typer's way to write a default)
    metrics: Annotated[
        bool,
        typer.Option(
            "--metrics", help="Also the networks of LPIPS, FID, landmarks and MUSIQ, for training and evaluation."
        ),
    ] = False,
) -> None:
    """Download the published weights from their official sources, check them and list them.

    The weights have several GB. Run the command again to resume an interrupted download, even inside a file, or to add
    a variant. The encoders of InterLCM are licensed CC BY-NC 4.0: not for commercial use.

    \b
    Examples:
      interlcm weights pull weights
      interlcm weights pull s3://archive/weights --variant 3step --variant 1step
      interlcm weights pull weights --metrics
    """
    from pipeline.weights.published import PUBLISHED
    from pipeline.weights.pull import pull

    pull(weights, variant, print, PUBLISHED, metrics)
    print(f"{weights}: complete; next: interlcm weights verify {quote(weights)}")


@app.command()
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Published .pth, or CLIP's pytorch_model.bin.")
    ],
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="Local weights folder; created if it does not exist.")
    ],
    part: Annotated[Part, typer.Option(help="Contents of the checkpoint.")],
    variant: Annotated[
        str | None, typer.Option(help="Variant: 3step, 1step, colorization_1step or inpainting_1step. Not for clip.")
    ] = None,
) -> None:
    """Check that a published checkpoint fits its module, and write it into a weights folder as safetensors.

    \b
    Examples:
      interlcm weights convert visual_encoder_3step.pth weights --part visual_encoder --variant 3step
      interlcm weights convert pytorch_model.bin weights --part clip
    """
    from interlcm.convert import convert

    if (variant is None) != (part == Part.CLIP):
        raise typer.BadParameter("an encoder needs --variant; clip must not have it")
    print(f"wrote {convert(checkpoint, weights, part.value, variant)}")


@app.command()
def verify(weights: Weights) -> None:
    """Compare every file of a weights folder with the sha256 in its model_index.json.

    Exit code 1 if a file differs or is missing.

    \b
    Examples:
      interlcm weights verify weights
      interlcm weights verify s3://archive/weights
    """
    folder = weights_folder(weights)
    if problems := differing(folder):
        print(*problems, sep="\n", file=sys.stderr)
        raise typer.Exit(1)
    index = read_index(folder)
    print(f"{weights}: {counted(len(index['parts']), 'part')}, all as listed")
    for variant in index["variants"]:
        print(f"{variant}: digest {digest(folder, variant)}")
