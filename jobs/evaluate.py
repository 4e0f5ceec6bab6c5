"""`interlcm evaluate`: the quality of weights, in the metrics of the papers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from PIL import Image

from interlcm.errors import printable
from interlcm.weights_index import opened
from jobs import portrait
from jobs.counted import counted
from jobs.lines import Lines
from jobs.options import ColorFix, GpusPerActor, Weights
from jobs.plan import actor_range, in_words_of, plan
from jobs.progress import show
from jobs.train import read_preset
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.settings import Settings
from pipeline.evaluation.pairs import Pairs, pair_up
from pipeline.evaluation.schema import METRICS
from pipeline.index import build as index_build
from pipeline.run import prepare
from pipeline.run.prepare import RunError
from pipeline.stages.row import Row
from pipeline.weights.local import weights_folder

if TYPE_CHECKING:
    from interlcm.degradation import Degradation
    from pipeline.evaluation.evaluate import Evaluation

NAMED = 5  # files without a partner that are named one by one
GRID_ROWS = 8
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="HQ", help="Sharp pictures: archives, folders, globs or images; paths or URIs."),
]


def evaluate(
    hq: Sources = None,
    lq: Annotated[
        list[str] | None,
        typer.Option("--lq", metavar="SOURCE", help="Degraded pictures, paired with HQ by name. Repeat for more."),
    ] = None,
    degradation: Annotated[
        str, typer.Option(metavar="PRESET", help="Without --lq: degrade HQ like this training preset.")
    ] = "demo",
    weights: Weights = "demo",
    metric_weights: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="Weights folder with the metrics' networks. Default: that of --weights."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="OUTPUT", help="Folder or URI for faces.parquet: one row for each face.")
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="Picture to write: LQ, restored and HQ side by side.")] = None,
    task: Annotated[
        Literal["restore", "colorize", "inpaint"], typer.Option(help="Task; the weights must support it.")
    ] = "restore",
    steps: Annotated[
        int | None, typer.Option(min=2, max=4, help="Timesteps. Default: the most that the weights support.")
    ] = None,
    color_fix: ColorFix = "auto",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Pictures are square face crops, as in test sets; skip detection.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the model's noise and of the degradation.")] = 0,
    actors: Annotated[
        str, typer.Option(metavar="N or MIN:MAX", help="Number of actors; each loads the whole model.")
    ] = "",
    gpus_per_actor: GpusPerActor = None,
    batch_faces: Annotated[int, typer.Option(min=1, help="Faces in one micro-batch on a GPU (on a CPU: one).")] = 8,
) -> None:
    """Restore test pictures and compare them with sharp ones: PSNR, SSIM, LPIPS, identity, FID and others.

    HQ and --lq: pairs. HQ alone: degraded first. --lq alone: real-world pictures, no-reference metrics.
    Neither: ten crops of a portrait (Grace Hopper, U.S. Navy, public domain) that is not in the training data, with
    blur 0.8 to 1.6 px, downsampling 1x to 2x, noise as in the table, JPEG quality 60 to 90.

    \b
    Examples:
      interlcm evaluate --grid demo-weights.jpg
      interlcm evaluate celeba_512.zip --lq celeba_512_lq.zip --aligned --weights weights --output results
      interlcm evaluate faces/ --degradation demo --aligned --grid grid.png
      interlcm evaluate --lq s3://tests/webphoto/ --aligned --weights weights
    """
    if grid is not None:
        check_grid(grid)
    if not hq and not lq:
        if output or metric_weights:
            raise typer.BadParameter("--output and --metric-weights do not apply to the portrait: name HQ or --lq")
        if task != "restore":
            raise typer.BadParameter(f"--task {task} does not apply to the portrait: name HQ or --lq")
    settings = Settings(weights=weights, task=task, steps=steps or 0, color_fix=color_fix, aligned=aligned, seed=seed)
    if not hq and not lq:
        portrait.show(settings, grid)
        return

    made = degradations_of(degradation) if not lq else None
    run(
        hq or [],
        lq or [],
        made,
        settings,
        metric_weights or weights,
        output,
        grid,
        actor_range(actors),
        gpus_per_actor,
        batch_faces,
    )


def run(
    hq: list[str],
    lq: list[str],
    degradations: "tuple[Degradation, ...] | None",
    settings: Settings,
    metric_weights: str,
    output: str | None = None,
    grid: Path | None = None,
    actors: tuple[int, int] = (0, 0),
    gpus_per_actor: float | None = None,
    batch_faces: int = 8,
) -> "Evaluation":
    """Pair, restore, measure; prints the table."""
    from pipeline.evaluation import networks
    from pipeline.evaluation.evaluate import Evaluation

    # Wrong weights, settings or sources are reported before a cluster is started.
    job = prepare.prepare(output or "", settings)
    metrics = opened(weights_folder(metric_weights))
    networks.check_metrics(metrics)
    degraded, sharp = (
        index_build.listed(named, output or "", settings.limits) if named else None for named in (lq, hq)
    )
    pairs = pair_up(degraded, sharp, shown=GRID_ROWS if grid else 0)
    print_partners(pairs, hq, lq)
    for one in degradations or ():
        print(f"degraded with {degradation_in_words(one)}")
    if not pairs.pairs.num_rows:
        raise nothing_measured([*hq, *lq], pairs.ended)
    if cluster.joined():
        cluster.connect(actors[1] or 1)
    resources = plan(actors, gpus_per_actor, batch_faces)
    if resources.max_actors > 1:
        cluster.connect(resources.max_actors)
    print(f"actors: {in_words_of(resources)}")
    done = Evaluation(job, degradations, storage.public(metric_weights), metrics.index)
    show(done.measure(pairs, resources), Lines())
    if output:
        print(f"rows: {done.write(output)}")
    if not done.measured:
        raise nothing_measured([*hq, *lq], done.rows)
    print_table(done, networks.missing(metrics), paired=bool(hq))
    picture = done.grid()
    if grid is not None and picture is not None:
        picture.save(grid)
    return done


def check_grid(grid: Path) -> None:
    """typer.BadParameter, before any work, if the picture cannot be written."""
    if grid.suffix.lower() not in Image.registered_extensions():
        raise typer.BadParameter(f"--grid {grid}: give it the suffix of a picture format, such as grid.png")
    if not grid.absolute().parent.is_dir():
        raise typer.BadParameter(f"--grid {grid}: there is no folder {grid.absolute().parent}")


def degradations_of(preset: str) -> "tuple[Degradation, ...]":
    """The degradations of a training preset."""
    from interlcm.degradation import Degradation
    from pipeline.training.settings import TrainingSettings, made

    settings = read_preset(preset)
    if "recipe" in settings:
        return TrainingSettings.from_preset(preset, settings).degradations
    return (made(Degradation, f"{preset}: degradation", settings["degradation"]),)


def degradation_in_words(one: "Degradation") -> str:
    def between(bounds: tuple[float, float]) -> str:
        return f"{bounds[0]:g} to {bounds[1]:g}"

    words = f"blur {between(one.blur)} px, smaller {between(one.downsampling)} times, noise {between(one.noise)} of 255"
    return f"{words}, JPEG quality {between(one.jpeg)}" + (f" (share {one.share:g})" if one.share != 1 else "")


def print_partners(pairs: Pairs, hq: list[str], lq: list[str]) -> None:
    """Print the number of pairs, and the names of files without a partner."""
    lone = [row for row in pairs.ended if row["error_type"] == "no_partner"]
    print(f"{'pairs' if hq and lq else 'pictures'}: {pairs.pairs.num_rows}")
    if lone:
        names = [row.get("lq_member") or row["hq_member"] for row in lone[:NAMED]]
        more = f" and {len(lone) - NAMED} more" if len(lone) > NAMED else ""
        print(f"without a partner: {len(lone)} ({printable(', '.join(names))}{more})")


def nothing_measured(sources: list[str], rows: list[Row]) -> Exception:
    first = f": {rows[0]['error'] or rows[0]['status']}" if rows else ": they hold no pictures"
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return RunError(f"{', '.join(sources)}: no face could be measured{first}{more}")


def print_table(done: "Evaluation", missing: dict[str, str], paired: bool) -> None:
    """Print one line for each metric, with LQ and restored faces; then the metrics that were left out."""
    print(f"{'':20}{'LQ input':>26}{'restored':>26}")
    for metric in METRICS:
        if metric.name not in missing and (paired or not metric.paired):
            statistics = [done.statistic(metric, name) for name in ("lq", "restored")]
            print_line(metric.title, metric.higher, metric.unit, [with_interval(one) for one in statistics])
    if paired and "fid" not in missing:
        distances = [done.fid(name) for name in ("lq", "restored")]
        print_line("FID", False, "", ["-" if one is None else number(one) for one in distances])
    faces = counted(len(done.measured), "face")
    several = "means over {} with their 95% bootstrap intervals" if len(done.measured) > 1 else "values of {}"
    print(several.format(faces) + ("; FID is one number for the set" if paired and "fid" not in missing else ""))
    if not paired:
        print(f"left out, without HQ: {', '.join(metric.title for metric in METRICS if metric.paired)}, FID")
    titles = {metric.name: metric.title for metric in METRICS if paired or not metric.paired}
    titles |= {"fid": "FID"} if paired else {}
    left_out = [f"{titles[name]} ({lacking})" for name, lacking in missing.items() if name in titles]
    if left_out:
        print(f"left out, without weights: {', '.join(left_out)}; see interlcm weights pull --metrics")


def print_line(title: str, higher: bool, unit: str, cells: list[str]) -> None:
    name = f"{title} {'↑' if higher else '↓'}" + (f" ({unit})" if unit else "")
    print(f"{name:20}" + "".join(f"{one:>26}" for one in cells))


def with_interval(statistic: tuple[float, float, float] | None) -> str:
    if statistic is None:
        return "-"
    mean, low, high = map(number, statistic)
    return mean if low == high else f"{mean} [{low}, {high}]"


def number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
