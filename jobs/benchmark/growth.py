"""`interlcm benchmark growth`: the cost of a photo in runs of growing size."""

import time
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


def growth(
    on: On = "",
    photos: Annotated[
        str, typer.Option(metavar="N,...", help="Sizes of the runs, separated by commas; 10 or more.")
    ] = "300,1000",
    megabytes: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Sizes of the photos, MB.")] = "0.02:0.05",
    to: To = "",
) -> None:
    """Restore runs of growing size, with stand-ins for the detector and the model; cost should grow in proportion.

    The photos are small, with two or three faces each. All processes are counted, from the search for pending photos to
    the last committed row.

    \b
    Examples:
      interlcm benchmark growth
      interlcm benchmark growth --photos 1000,10000,100000 --to growth.json
    """
    import ray

    from pipeline.benchmark import memory

    low, high = size_range(megabytes)
    counts = numbers("--photos", photos, least=10)
    rows: Rows = []
    for count in counts:
        with workplace(on) as folder:
            source, output = storage.join(folder, "scans"), storage.join(folder, "run")
            benchmark_photos.write_archives(source, count, low, high)
            cluster.connect(1)
            begun = time.perf_counter()
            build_index(expand([source], output), output, Limits())
            indexed = time.perf_counter() - begun
            measured = memory.measure(output, Resources(1, 1, batch_faces=2), size=64)
            ray.shutdown()
        rows.append({"photos": count, "index s": indexed, **memory.cost(measured)})
    publish({"Growth": rows}, to)
