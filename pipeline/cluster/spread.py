"""Run independent calls in parallel: on Ray's workers if Ray runs, else in threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from pipeline.cluster import connect as cluster
from pipeline.storage import traffic

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

    task: Any = ray.remote(num_cpus=cpus)(_counted).options(name=work.__name__)
    for reference in _window(partial(task.remote, work), calls, PER_CPU * cluster.cpus()):
        result, repeated = ray.get(reference)
        if repeated.times:
            traffic.retries.add(repeated.last, repeated.throttled, repeated.times)
        yield result


class _Repeated(NamedTuple):
    """Requests of storage that a call repeated, the last one in words, and whether one was to be slower."""

    times: int
    last: str
    throttled: bool


def _counted(work: Callable[..., Result], *call: Any) -> tuple[Result, _Repeated]:
    """On a worker: the result of a call, and what storage made it repeat, which the command counts with its own."""
    seen = traffic.Retries()
    traffic.retries.tell = seen.add
    try:
        result = work(*call)
    finally:
        traffic.retries.tell = None
    return result, _Repeated(seen.count, seen.last, seen.throttled_at is not None)


def _window(start: Callable[..., Any], calls: Iterable[tuple[Any, ...]], most: int) -> Iterator[Any]:
    """Start the calls, at most `most` ahead of the reader; yields what `start` returned, in order."""
    under_way: deque[Any] = deque()
    for call in calls:
        if len(under_way) == most:
            yield under_way.popleft()
        under_way.append(start(*call))
    yield from under_way
