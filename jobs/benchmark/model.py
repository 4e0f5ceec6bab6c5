"""`interlcm benchmark model`: the speed of the model, and the gain of each optimisation."""

from typing import Annotated, Literal

import typer

from jobs.benchmark.figures import To, publish
from jobs.counted import counted


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
        int | None, typer.Option(min=1, help="Faces restored for each row. Default: 4 micro-batches (CPU: 2).")
    ] = None,
    batch_faces: Annotated[
        int | None, typer.Option(min=1, help="Faces in a micro-batch; 16 on a GPU, 2 on a CPU by default.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Add a row with torch.compile; takes minutes.")] = False,
    to: To = "",
) -> None:
    """Restore the same faces in several ways: a plain float32 loop, then one more optimisation in each row.

    The weights are random numbers, the same each time; the architecture is the published one, at --size. PSNR compares
    with the result of the plain loop, on pictures in [-1, 1].

    \b
    Examples:
      interlcm benchmark model
      interlcm benchmark model --size full --device cuda --faces 64 --batch-faces 16 --compile --to model.json
    """
    import torch

    from pipeline.benchmark import model as benchmark_model

    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise typer.BadParameter("--device cuda: PyTorch sees no GPU here; leave the option out to use the CPU")
    on = torch.device(device or ("cuda" if gpu else "cpu"))
    chosen = benchmark_model.SIZES[size or ("full" if on.type == "cuda" else "small")]
    batch = batch_faces or (16 if on.type == "cuda" else 2)
    count = faces or (4 * batch if on.type == "cuda" else 2)
    parts = list(benchmark_model.parts(chosen))
    flops = next(row["TFLOP"] for row in parts if row["part"] == "all") * 1e12
    network = benchmark_model.random_model(chosen, on)
    rows = list(benchmark_model.measure(network, on, flops, count, batch, compile))
    shape = f"{chosen.width:g} x the published channels, crops of {chosen.pixels} px"
    print(f"{shape}, {benchmark_model.STEPS} steps, {counted(count, 'face')} in each row")
    publish({"Work for one face": parts, "Speed": rows}, to)
