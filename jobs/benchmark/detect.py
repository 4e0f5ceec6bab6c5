"""`interlcm benchmark detect`: which faces each detector finds."""

from typing import TYPE_CHECKING

import typer

from jobs.benchmark.figures import To, publish
from jobs.options import Weights

if TYPE_CHECKING:
    from pipeline.benchmark.detect import Scene

# Left and right eye, px, read off the pictures.
ASTRONAUT_EYES, HOPPER_EYES = ((122, 101), (166, 103)), ((220, 189), (305, 187))


def detect(weights: Weights = "demo", to: To = "") -> None:
    """Compare the face detectors that are there, on portraits that ship with scikit-image and matplotlib.

    A scene of twelve faces, and the same tilted, turned, smaller, faded, dark and nine times over. Found: a box holds
    the middle between the eyes. False: a box that holds no such place.

    \b
    Examples:
      interlcm benchmark detect
      interlcm benchmark detect --weights weights --to detect.json
    """
    from interlcm.weights_index import opened
    from pipeline.benchmark.detect import cases, measure
    from pipeline.config.limits import DEFAULTS
    from pipeline.faces.detectors import DETECTORS, load_detector
    from pipeline.faces.face import DetectorError
    from pipeline.weights.local import weights_folder

    parts = opened(weights_folder(weights))
    rows = []
    for name in DETECTORS[1:]:
        try:
            detector = load_detector(name, parts)
        except DetectorError as error:
            print(f"left out: {error}")
            continue
        for case, scene in cases(portraits()).items():
            rows.append({"detector": name, "case": case, **measure(detector, scene, DEFAULTS.detect_pixels)})
    if not rows:
        raise typer.Exit(1)
    publish({"Detectors": rows}, to)


def portraits(side: int = 160) -> "Scene":
    """Twelve faces in squares of `side` px, and three pictures without one."""
    import numpy as np
    import skimage.data

    from jobs import samples
    from pipeline.benchmark.detect import Scene, together

    astronaut = skimage.data.astronaut()[samples.ASTRONAUT_FACE]
    faces = [
        Scene(astronaut, np.array([ASTRONAUT_EYES], float)),
        Scene(samples.grace_hopper(), np.array([HOPPER_EYES], float)),
    ]
    return together(faces, [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()], side, rows=3)
