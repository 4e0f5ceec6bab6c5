"""`interlcm benchmark memory`: memory of a run's processes and of Ray's object store while many photos pass."""

from typing import Annotated

import typer

from jobs.benchmark.figures import On, To, publish, size_range, workplace
from pipeline import storage
from pipeline.benchmark import photos
from pipeline.cluster import connect as cluster
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.index.build import build_index
from pipeline.index.sources import expand


def memory(
    on: On = "",
    store: Annotated[int, typer.Option(min=80, help="Ray's object store, MB.")] = 80,
    times: Annotated[float, typer.Option(min=0.1, help="Bytes of the photos, as a multiple of the object store.")] = 20,
    megabytes: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Sizes of the photos, MB.")] = "0.5:1.5",
    crop: Annotated[int, typer.Option(min=32, help="Side of the crops, px.")] = 128,
    to: To = "",
) -> None:
    """Restore many times the capacity of the object store, with stand-ins for the detector and the model.

    For each tenth of the photos, the table shows the peak memory of one process of each kind (proportional set size),
    the peak of the object store, and the bytes spilled to disk so far.

    \b
    Examples:
      interlcm benchmark memory
      interlcm benchmark memory --store 2000 --megabytes 1:20 --crop 512 --to memory.json
    """
    import ray

    from pipeline.benchmark import memory as benchmark_memory

    low, high = size_range(megabytes)
    limit = store * 1_000_000
    count = benchmark_memory.photos_for(times * limit, low, high)
    with workplace(on) as folder:
        source, output = storage.join(folder, "scans"), storage.join(folder, "run")
        photos.write_archives(source, count, low, high)
        cluster.connect(1, object_store=limit)
        found = build_index(expand([source], output), output, Limits())
        rows = benchmark_memory.table(benchmark_memory.measure(output, Resources(1, 1, batch_faces=2), crop), limit)
        ray.shutdown()
    print(f"{found.photos} photos, {found.bytes / limit:.3g} times the capacity of the object store ({store} MB)")
    publish({"Memory": rows}, to)
