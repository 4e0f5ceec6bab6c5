"""`interlcm benchmark model`: the speed of the model, and what its defaults should be on this machine."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from jobs.benchmark.figures import Live, To, numbers
from jobs.counted import counted

LADDER = {"cpu": 2, "cuda": 16}  # most faces in a micro-batch of the table "Speed"
DEFAULTS = {"cpu": ("1,2", "float32,bfloat16"), "cuda": ("1,8,16,31,32,64", "bfloat16,float16,float32")}


def model(
    size: Annotated[
        Literal["tiny", "small", "full"] | None,
        typer.Option(
            help="full: the published architecture on 512 px crops, the default on a GPU; small: half the channels, "
            "256 px; tiny: to try the command."
        ),
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="Default: cuda if there is a GPU, else cpu.")
    ] = None,
    faces: Annotated[
        int | None, typer.Option(min=1, help="Faces restored for each row, at least. Default: 64; on a CPU 2.")
    ] = None,
    batch_faces: Annotated[
        str, typer.Option(metavar="N,N,...", help="Micro-batches. Default: 1,8,16,31,32,64; on a CPU 1,2.")
    ] = "",
    dtypes: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Default: bfloat16,float16,float32; on a CPU float32,bfloat16."),
    ] = "",
    compile: Annotated[bool, typer.Option("--compile", help="Add rows with torch.compile; takes minutes.")] = False,
    compile_backend: Annotated[
        Literal["inductor", "aot_eager"],
        typer.Option(help="Of torch.compile. aot_eager generates no code: to try --compile without its minutes."),
    ] = "inductor",
    face: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The face/ of a weights folder: its networks judge in the actor's rows."),
    ] = None,
    actor_faces: Annotated[
        int | None, typer.Option(min=1, help="Faces restored for each row of the actor. Default: as --faces.")
    ] = None,
    to: To = "",
) -> None:
    """Measure what the model's defaults should be here: micro-batch, dtype, memory layout, torch.compile.

    Speed: a plain float32 loop, then one more optimisation in each row. Sweep: each dtype and micro-batch, with the
    milliseconds of each part for one face. Actor: the actor of a run, with the networks that judge its faces; overlap:
    the next micro-batch is begun before the host takes the last one. Each row is printed, and written to --to, as soon
    as it is measured. The weights are random numbers, the same each time; the architecture is the published one, at
    --size. PSNR compares with float32, on pictures in [-1, 1].

    \b
    Examples:
      interlcm benchmark model
      interlcm benchmark model --size full --device cuda --compile --face weights/face --to model.json
    """
    import torch

    from pipeline.benchmark import model as benchmark_model
    from pipeline.benchmark.actor import actor
    from pipeline.benchmark.sweep import sweep

    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise typer.BadParameter("--device cuda: PyTorch sees no GPU here; leave the option out to use the CPU")
    on = torch.device(device or ("cuda" if gpu else "cpu"))
    chosen = benchmark_model.SIZES[size or ("full" if on.type == "cuda" else "small")]
    batches = numbers("--batch-faces", batch_faces or DEFAULTS[on.type][0])
    kinds = named(dtypes or DEFAULTS[on.type][1])
    count = faces or (64 if on.type == "cuda" else 2)
    ladder = max((n for n in batches if n <= LADDER[on.type]), default=1)
    judges = judging(face)
    live = Live(to)
    shape = f"{chosen.width:g} x the published channels, crops of {chosen.pixels} px"
    print(f"{shape}, {benchmark_model.STEPS} steps, {counted(count, 'face')} in each row", flush=True)
    parts = list(benchmark_model.parts(chosen))
    live.whole("Work for one face", parts)
    flops = next(row["TFLOP"] for row in parts if row["part"] == "all") * 1e12
    network = benchmark_model.random_model(chosen, on)
    for row in benchmark_model.measure(network, on, flops, count, ladder):
        live.add("Speed", row)
    del network
    best, fastest = (kinds[0], batches[0]), 0.0
    with TemporaryDirectory(prefix="interlcm-benchmark-") as folder:
        for row in sweep(chosen, on, kinds, batches, count, Path(folder) if compile else None, compile_backend):
            live.add("Sweep", row)
            if row["layout"] == "channels last" and (row["faces/s"] or 0) > fastest:
                best, fastest = (row["dtype"], row["micro-batch"]), row["faces/s"]
        for row in actor(Path(folder), chosen, on, *best, actor_faces or count, judges, compile, compile_backend):
            live.add("Actor", row)
    live.finish()


def named(text: str) -> list[str]:
    """'float32,bfloat16' -> its words. Raises typer.BadParameter for other words."""
    from pipeline.benchmark.sweep import DTYPES

    words = [word.strip() for word in text.split(",")]
    if not set(words) <= set(DTYPES):
        raise typer.BadParameter(f"--dtypes {text}: choose from {', '.join(DTYPES)}")
    return words


def judging(face: Path | None) -> Path | None:
    """The folder of the judges' weights; None, with a line that says why, if they cannot be loaded here."""
    if face is None:
        print("no judges: name a face/ folder with --face")
        return None
    if not any(face.glob("*.pth")):
        raise typer.BadParameter(f"--face {face}: no .pth file there; name the folder face/ of a weights folder")
    try:
        import facexlib  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"no judges: {error.name} is not installed")
        return None
    return face
