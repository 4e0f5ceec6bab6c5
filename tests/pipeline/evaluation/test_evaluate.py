"""An evaluation's chain of stages: the same rows from both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlcm.weights_index import read_index
from pipeline.cluster import connect as cluster
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.pairs import pair_up
from pipeline.index.build import listed
from tests.support.archives import put, zip_bytes
from tests.support.pictures import astronaut, encoded, hopper, resized
from tests.support.stages import job


@pytest.mark.usefixtures("ray_cluster")
def test_the_rows_are_the_same_on_ray_and_in_this_process(
    tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = {"one": hopper(64)[:64], "two": astronaut(64)}
    sharp = put(str(tmp_path), "hq.zip", zip_bytes({f"{name}.png": encoded(faces[name], "PNG") for name in faces}))
    small = {f"{name}.jpg": encoded(resized(faces[name], 32)) for name in faces}
    degraded = put(str(tmp_path), "lq.zip", zip_bytes(small | {"two.jpg": small["two.jpg"][:300]}))
    pairs = pair_up(listed([degraded], "", Limits()), listed([sharp], "", Limits()))

    def rows() -> list[dict[str, Any]]:
        made = Evaluation(job("", tiny_weights, aligned=True), None, tiny_weights, read_index(Path(tiny_weights)))
        *_, last = made.measure(pairs, Resources())
        assert (last.done, last.faces, last.failed) == (2, 1, 1)
        return [{name: row[name] for name in row if not name.startswith("seconds")} for row in made.rows]

    on_ray = rows()
    monkeypatch.setattr(cluster, "running", lambda: False)
    assert rows() == on_ray
