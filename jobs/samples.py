"""Sample pictures that ship inside scikit-image and matplotlib, all in the public domain or CC0.

Their own documentation states the licences: `skimage.data`, and for the portrait of Grace Hopper (U.S. Navy)
matplotlib's sample data.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

# Name in skimage.data -> how often training draws a crop from it. The astronaut is the only one with a face.
TRAINING = {
    "astronaut": 4.0,
    "chelsea": 2.0,
    "coffee": 1.0,
    "rocket": 1.0,
    "camera": 1.0,
    "hubble_deep_field": 0.5,
    "moon": 0.5,
}
ASTRONAUT_FACE = (slice(0, 320), slice(80, 400))  # rows, columns of the 512 x 512 portrait


def training_pictures() -> list[tuple[np.ndarray, float]]:
    """(H, W, 3) uint8 RGB pictures, each with its weight; the astronaut's face is drawn once more on its own."""
    import skimage.data
    from skimage.color import gray2rgb

    loaded = [(getattr(skimage.data, name)(), weight) for name, weight in TRAINING.items()]
    pictures = [(gray2rgb(array) if array.ndim == 2 else array, weight) for array, weight in loaded]
    return [*pictures, (pictures[0][0][ASTRONAUT_FACE], 6.0)]


def grace_hopper() -> np.ndarray:
    """(600, 512, 3) uint8 RGB: the portrait that is not in the training data."""
    from matplotlib.cbook import get_sample_data

    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return np.asarray(image.convert("RGB"))


def held_out_crops(size: int = 256) -> Iterator[np.ndarray]:
    """Ten (size, size, 3) crops of the portrait: the face itself, then a grid over the whole picture."""
    picture = grace_hopper()
    yield picture[40 : 40 + size, 128 : 128 + size]
    for top in np.linspace(0, picture.shape[0] - size, 3).astype(int):
        for left in np.linspace(0, picture.shape[1] - size, 3).astype(int):
            yield picture[top : top + size, left : left + size]
