"""A killer at large on a small cluster; test_chaos_on_s3 has a larger one, behind a bad network.

Whatever dies, the run ends with every indexed photo exactly once in the manifest, no small part left, and the bytes of
restored files that a run had which nobody disturbed.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from jobs.run import Request, run
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import compaction
from pipeline.run import merging, termination
from pipeline.run.prepare import RunError
from pipeline.storage.output import Output
from tests.support.chaos import LEDGER, QUICK, check, scans, so_far, undisturbed, working

ARCHIVES, PHOTOS = 20, 8  # and photos in each: calls and parts are whole blocks, and a block has those of one archive


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(1800)
def test_three_rounds_and_a_stop_on_a_small_cluster(
    tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger, a worker, and both at once, then a stop; the manifest is compacted all the time.

    The stop is what SIGTERM does, of which test_termination says that it arrives.
    """
    sources = scans(str(tmp_path), ARCHIVES, PHOTOS)
    wanted = undisturbed(sources, str(tmp_path / "undisturbed"), tiny_weights)
    monkeypatch.setattr(compaction, "FEW", 0)
    monkeypatch.setattr(merging, "COMPACT_EVERY", 8)
    output, chance, over = str(tmp_path / "out"), random.Random(18), threading.Event()
    struck: list[str] = []
    stop: list[Callable[[], object]] = []  # what a signal would call

    @contextmanager
    def heeded(tell: Callable[[], object], output: str) -> Iterator[threading.Event]:
        stopping = threading.Event()
        stop.extend([stopping.set, tell])
        yield stopping

    monkeypatch.setattr(termination, "heeded", heeded)

    def strike(*victims: tuple[str, ...]) -> None:
        """As soon as another part is committed, while the run works; what there is then is right."""
        before = parts()
        while parts() <= before and not over.wait(0.01):
            pass
        for titles in victims:
            hit = False
            while not hit and not over.wait(0.01):  # a worker that starts anew is not there for a moment
                with suppress(psutil.NoSuchProcess, IndexError):
                    victim = chance.choice(working(os.getpid(), titles))
                    name = victim.name()
                    victim.kill()
                    struck.append(name)
                    hit = True
        so_far(output, wanted, set())

    def parts() -> set[str]:
        return {path.name for path in Path(output, "manifest").glob("part-*.parquet")}

    def killer() -> None:
        strike((LEDGER,))
        strike(QUICK)
        strike((LEDGER,), QUICK)
        for one in stop[:2]:
            one()

    thread = threading.Thread(target=killer, daemon=True)
    thread.start()
    try:
        with pytest.raises(RunError, match="stopped; photos left: .*; start the same command again"):
            run(Request(sources, output, Settings(weights=tiny_weights), actors=(1, 1), engine="ray"))
    finally:
        over.set()
        thread.join()
    # The last worker may have had nothing left to do.
    assert len(struck) >= 3 and len(set(struck)) >= 2, struck
    assert so_far(output, wanted, set()).pending > 0 and not storage.exists(Output(output).lease)
    # What a writer that was killed left half written goes at the next start.
    assert run(Request(sources, output, Settings(weights=tiny_weights), engine="here")) == 0
    check(output, ARCHIVES * PHOTOS, wanted, may_fail=set())
    (name,) = [name for name, _ in storage.list_files(f"{output}/manifest")]
    assert name.startswith("merged-")
