"""The photo around the faces, enlarged by Real-ESRGAN (arXiv 2107.10833) in tiles, so that any size fits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlcm.weights_index import Parts, WeightsError
from pipeline.networks.files import background_file

Pixels = npt.NDArray[np.uint8]

# Side of a tile, and the width of the border around it that the network also sees, px of the photo. Real-ESRGAN's own
# script uses 10 px; beyond 32 px there is no visible effect. Both are multiples of 4, the squares in which the x2
# network reads its input, so that a tile has the squares of the whole photo.
TILE, AROUND = 384, 32


class Background:
    """A Real-ESRGAN network, which spandrel recognises by its keys. parts: a weights folder. scale: its enlargement.

    Raises WeightsError for a file that is not as listed or holds something else.
    """

    def __init__(self, parts: Parts, scale: int, device: torch.device | str = "cpu") -> None:
        # Here: most runs enlarge nothing, and spandrel, which knows a hundred networks, takes a second.
        import spandrel

        from interlcm.convert import read_checkpoint

        path = background_file(parts, scale)
        file = parts.folder / path
        self.scale, self.device = scale, torch.device(device)
        remedy = "remove it and get it with `interlcm weights pull`"
        state = spandrel.canonicalize_state_dict(read_checkpoint(parts, path))
        try:
            network = spandrel.ModelLoader(self.device).load_from_state_dict(state)
        except (spandrel.UnsupportedModelError, RuntimeError) as error:
            raise WeightsError(f"{file} does not hold the weights of Real-ESRGAN; {remedy}") from error
        if not isinstance(network, spandrel.ImageModelDescriptor) or (network.scale, network.input_channels) != (
            scale,
            3,
        ):
            raise WeightsError(f"{file} does not enlarge colour photos {scale} times; {remedy}")
        self.network = network.eval()

    def enlarge(self, srgb: Pixels, tile: int = TILE) -> Pixels:
        """(H, W, 3) to (scale H, scale W, 3), both uint8 sRGB. tile: a multiple of 4, px."""
        height, width = srgb.shape[:2]
        scale = self.scale
        enlarged = np.empty((height * scale, width * scale, 3), np.uint8)
        for top, bottom, above, below in spans(height, tile):
            for left, right, before, after in spans(width, tile):
                seen = self._enlarged(srgb[above:below, before:after])
                rows = slice((top - above) * scale, (bottom - above) * scale)
                columns = slice((left - before) * scale, (right - before) * scale)
                enlarged[top * scale : bottom * scale, left * scale : right * scale] = seen[rows, columns]
        return enlarged

    @torch.inference_mode()
    def _enlarged(self, part: Pixels) -> Pixels:
        lq = torch.from_numpy(part.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        result: Tensor = self.network(lq)  # (1, 3, s h, s w) in [0, 1]
        return (result[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def spans(length: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    """The tiles along one side: start, end, and start and end of what the network sees."""
    for start in range(0, length, tile):
        end = min(start + tile, length)
        yield start, end, max(start - AROUND, 0), min(end + AROUND, length)
