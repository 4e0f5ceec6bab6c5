"""What a command says while something takes long before there are results to count."""

import sys
from contextlib import AbstractContextManager
from dataclasses import asdict, replace

from jobs.lines import Lines
from pipeline.cluster import connect as cluster
from pipeline.cluster import demand
from pipeline.run.waiting import LOOK_EVERY, Facts, Waiting, Watch, repeated
from pipeline.storage import traffic


def meanwhile(lines: Lines, what: str) -> AbstractContextManager[None]:
    """Inside this block, a line every ten seconds about what the command waits for: storage, or what the cluster lacks.

    what: what is done in the block.
    """

    def say(found: Waiting | None) -> None:
        if found and found.lines:
            lines.say("waiting", "\n".join(found.lines), **asdict(found))

    def look() -> Facts:
        joined = cluster.running()
        return replace(Facts.of(traffic.retries), demand=demand.look() if joined else None, on_ray=joined)

    return repeated(Watch(lambda: 0, look, say, what), LOOK_EVERY)


def while_storage_fails() -> AbstractContextManager[None]:
    """Inside this block, a line on stderr every ten seconds while requests of storage are repeated."""

    def say() -> None:
        facts = Facts.of(traffic.retries)
        if facts.retrying:
            print(f"waiting: {facts.storage}", file=sys.stderr, flush=True)

    return repeated(say, LOOK_EVERY)
