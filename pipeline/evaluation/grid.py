"""A picture of faces in rows and columns, with the names of the columns above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

HEADER = 1 / 8  # height of the names, as a share of a column's width
GAP = 4  # px between faces
PAPER, INK = (255, 255, 255), (0, 0, 0)


def grid(names: Sequence[str], rows: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> Image.Image:
    """rows: faces (S, S, 3) uint8 RGB, all of one size, one for each name."""
    size = rows[0][0].shape[0]
    header = max(16, round(size * HEADER))
    step = size + GAP
    picture = Image.new("RGB", (len(names) * step - GAP, header + len(rows) * step - GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=header * 0.7)
    for column, name in enumerate(names):
        draw.text((column * step + size / 2, header / 2), name, INK, font, anchor="mm")
        for line, faces in enumerate(rows):
            picture.paste(Image.fromarray(faces[column]), (column * step, header + line * step))
    return picture
