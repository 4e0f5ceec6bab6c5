"""`interlcm benchmark pipeline`: how busy a run keeps its restore actors."""

from typing import Annotated

import typer

from jobs.benchmark.figures import On, Rows, To, numbers, publish, size_range, workplace
from pipeline import storage
from pipeline.benchmark import photos as benchmark_photos
from pipeline.cluster import connect as cluster
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.index.build import build_index
from pipeline.index.sources import expand


def pipeline(
    on: On = "",
    photos: Annotated[int, typer.Option(min=10, help="Photos of each run, with two or three faces each.")] = 120,
    megabytes: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Sizes of the photos, MB.")] = "1:20",
    actors: Annotated[str, typer.Option(metavar="N,...", help="Numbers of actors, one run for each.")] = "1,4",
    rate: Annotated[float, typer.Option(min=0.1, help="Faces per second of all stand-in models together.")] = 2.0,
    batch_faces: Annotated[int, typer.Option(min=1, help="Faces in one micro-batch.")] = 2,
    crop: Annotated[int, typer.Option(min=32, help="Side of the crops, px.")] = 128,
    to: To = "",
) -> None:
    """Restore with stand-ins for the GPUs: models that take a fixed time for each micro-batch and do nothing.

    Photos (uncompressed TIFFs in tars), storage, decoders, crops, pastes and manifest are real; the faces are preset,
    not detected. All models together consume --rate faces per second, so that a small machine can supply them. The
    benchmark measures whether the models wait, for photos or for each other.

    \b
    Examples:
      interlcm benchmark pipeline
      interlcm benchmark pipeline --on s3://bucket/benchmark --actors 16 --photos 384
      interlcm benchmark pipeline --on s3://bucket/benchmark --photos 2000 --rate 40 --batch-faces 8 --crop 512
    """
    import ray

    from pipeline.benchmark import throughput

    low, high = size_range(megabytes)
    counts = numbers("--actors", actors)
    shares: Rows = []
    rest: Rows = []
    with workplace(on) as folder:
        source = storage.join(folder, "scans")
        benchmark_photos.write_archives(source, photos, low, high)
        for count in counts:
            output, resources = storage.join(folder, f"run-{count}"), Resources(count, count, batch_faces=batch_faces)
            cluster.connect(count)
            build_index(expand([source], output), output, Limits())
            measured = throughput.measure(output, resources, count * batch_faces / rate, crop)
            ray.shutdown()
            shares.append(throughput.row(measured, resources))
            rest.append(throughput.rest(measured, resources))
            stages = throughput.stages(output)
    tables = {
        "Share of the ideal": shares,
        "Where the rest goes": rest,
        "Stages, for a photo of the last run": stages,
        "Operators of the last run, as Ray Data counts them": throughput.operators(measured.stats),
    }
    publish(tables, to)
