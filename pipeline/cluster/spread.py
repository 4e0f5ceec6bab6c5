"""Run independent calls in parallel: on Ray's workers if Ray runs, else in threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from pipeline.cluster import connect as cluster

Result = TypeVar("Result")

PER_CPU = 4  # calls in progress for each CPU: some wait for storage
THREADS = 8  # fewest threads, for the same reason


def spread(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]], cpus: float = 1.0) -> Iterator[Result]:
    """`work(*call)` for each of the calls; yields the results in the order of the calls.

    cpus: CPUs of a cluster for one call. An error of a call is raised here. Threads suit work that waits for storage or
    for the sandbox's child processes. `work` must be a module-level function, so that Ray can find it.
    """
    if cluster.running():
        yield from _on_ray(work, calls, cpus)
        return
    threads = max(THREADS, cluster.cores())
    with ThreadPoolExecutor(threads, thread_name_prefix=work.__name__) as pool:
        try:
            for future in _window(partial(pool.submit, work), calls, 2 * threads):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_ray(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]], cpus: float) -> Iterator[Result]:
    import ray

    task = ray.remote(num_cpus=cpus)(work)
    for reference in _window(task.remote, calls, PER_CPU * cluster.cpus()):
        yield ray.get(reference)


def _window(start: Callable[..., Any], calls: Iterable[tuple[Any, ...]], most: int) -> Iterator[Any]:
    """Start the calls, at most `most` ahead of the reader; yields what `start` returned, in order."""
    under_way: deque[Any] = deque()
    for call in calls:
        if len(under_way) == most:
            yield under_way.popleft()
        under_way.append(start(*call))
    yield from under_way
