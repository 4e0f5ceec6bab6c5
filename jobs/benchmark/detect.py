"""`interlcm benchmark detect`: which faces each detector finds."""

import numpy as np
import typer

from interlcm.weights_index import opened
from jobs import samples
from jobs.benchmark.figures import To, publish
from jobs.options import Weights
from pipeline.benchmark.detect import Scene, cases, measure, together
from pipeline.config.limits import DEFAULTS
from pipeline.faces.detectors import DETECTORS, load_detector
from pipeline.faces.face import DetectorError
from pipeline.weights.local import weights_folder

# Left and right eye, px, read off the pictures.
ASTRONAUT_EYES, HOPPER_EYES = ((122, 101), (166, 103)), ((220, 189), (305, 187))


def detect(weights: Weights = "demo", to: To = "") -> None:
    """Compare the available face detectors on portraits that ship with scikit-image and matplotlib.

    The scene has twelve faces; it is also searched tilted, turned, smaller, faded, dark and as nine copies. Found: a
    box contains the middle between the eyes. False: a box contains no such point.

    \b
    Examples:
      interlcm benchmark detect
      interlcm benchmark detect --weights weights --to detect.json
    """
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


def portraits(side: int = 160) -> Scene:
    """Twelve faces in squares of `side` px, and three pictures without one."""
    import skimage.data

    astronaut = skimage.data.astronaut()[samples.ASTRONAUT_FACE]
    faces = [
        Scene(astronaut, np.array([ASTRONAUT_EYES], float)),
        Scene(samples.grace_hopper(), np.array([HOPPER_EYES], float)),
    ]
    return together(faces, [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()], side, rows=3)
