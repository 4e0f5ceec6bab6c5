"""Metrics of a restored face against its input or its target.

Every function takes faces (H, W, 3), uint8 RGB in [0, 255], as NumPy arrays or CPU tensors, and returns one
float.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

FaceImage = npt.ArrayLike

# ITU-R BT.601 luma weights of R, G, B.
LUMA = np.array([0.299, 0.587, 0.114])

# Rows that delta_e works on at a time: for a face of 512 px its thirty or so arrays of 256 KiB stay in the cache.
STRIP = 128


def psnr(face: FaceImage, reference: FaceImage) -> float:
    """Peak signal-to-noise ratio in dB over all channels, peak 255; infinite for equal faces."""
    one, other = _pair(face, reference)
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(face: FaceImage, reference: FaceImage) -> float:
    """Structural similarity, 1 for equal faces: the mean over channels, with the paper's Gaussian window
    (sigma 1.5).

    Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment", eq. 13. Computed in float32, which is within
    1e-5 of float64 and takes three fifths of the time.
    """
    one, other = (array.astype(np.float32) for array in _pair(face, reference))
    return float(
        structural_similarity(
            one,
            other,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def sharpness(face: FaceImage) -> float:
    """Variance of the Laplacian of luma (squared grey levels): edges raise it, and so does grain.

    Pech-Pacheco and others 2000, "Diatom autofocusing in brightfield microscopy".
    """
    return float(ndimage.laplace(_array(face) @ LUMA).var())


def delta_e(face: FaceImage, reference: FaceImage) -> float:
    """Mean CIEDE2000 colour difference over the pixels, from 0; about 1 is just visible. Pixels are read as sRGB.

    Computed in float32, which is within 1e-4 of float64 and takes two thirds of the time, and in strips, which takes
    two thirds of that.
    """
    one, other = _pair(face, reference)
    total = sum(
        deltaE_ciede2000(_lab(other[top : top + STRIP]), _lab(one[top : top + STRIP])).sum(dtype=np.float64)
        for top in range(0, len(one), STRIP)
    )
    return float(total) / (one.shape[0] * one.shape[1])


def cast(face: FaceImage, reference: FaceImage) -> float:
    """CIEDE2000 between the mean colours of two faces, from 0: a tint over the whole face, regardless of grain.

    The means are of sRGB values. This is the part of `delta_e` that an even change of colour would undo.
    """
    one, other = (array.mean((0, 1)) / 255 for array in _pair(face, reference))
    return float(deltaE_ciede2000(rgb2lab(other), rgb2lab(one)))


def _lab(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    lab: npt.NDArray[np.float32] = rgb2lab(pixels.astype(np.float32) / np.float32(255))
    return lab


def _array(face: FaceImage) -> npt.NDArray[np.uint8]:
    array = np.asarray(face)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"a face is (H, W, 3) uint8, not {array.shape} {array.dtype}")
    return array


def _pair(face: FaceImage, reference: FaceImage) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    one, other = _array(face), _array(reference)
    if one.shape != other.shape:
        raise ValueError(f"faces differ in shape: {one.shape} and {other.shape}")
    return one, other
