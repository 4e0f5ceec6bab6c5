"""What facexlib's networks are shown of an aligned crop, and what the classes of its parser say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.faces.alignment import TEMPLATE, TEMPLATE_SIZE, Matrix, compose, invert

# Of ParseNet's 19 classes, facexlib replaces skin, features, ears, hair, glasses and earrings;
# background (0), hat (14), necklace (16), neck (17) and cloth (18) stay (utils/face_restoration_helper.py,
# paste_faces_to_input_image).
NOT_FACE = (0, 14, 16, 17, 18)
# Skin (with a beard), nose, glasses, eyes, brows, mouth and lips.
FEATURES = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)
# An ellipse that these fill in a crop of a frontal face: middle and half axes, as fractions of the side. It is centred
# between eyes and mouth (0.47 and 0.73 of the height). The template's eyes are 0.246 apart; a face is about 2.1 of this
# wide, and its chin is 1.8 below the eyes, so the ellipse (2 wide, 0.32 to 0.88 of the height) ends within the face.
INNER_MIDDLE, INNER_AXES = (0.5, 0.6), (0.246, 0.28)

# Where ArcFace expects eyes, nose and mouth corners in its 112 x 112 crop (insightface, utils/face_align.py).
ARCFACE_SIZE = 112
ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# facexlib (inference/inference_hyperiqa.py) stretches the detector's box to 384 x 512 px and takes 224 x 224 patches.
# The approximate box of a face in an aligned crop: x0, y0, x1, y1 as fractions of the side, with that ratio.
FACE_BOX = (0.2, 0.16, 0.8, 0.96)
BOX_HEIGHT, BOX_WIDTH, PATCH = 512, 384, 224
# Corners and middle: top and left edge of each patch.
PATCHES = ((0, 0), (0, 160), (144, 80), (288, 0), (288, 160))
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def masks_of(classes: Tensor, side: int) -> Tensor:
    """(N, 1, 512, 512) classes to masks (N, S, S) uint8: 255 where facexlib replaces the photo, 0 elsewhere."""
    face = torch.ones_like(classes, dtype=torch.float32)
    for outside in NOT_FACE:
        face = face.masked_fill(classes == outside, 0)
    return (F.interpolate(face, side, mode="area") * 255).round().byte()[:, 0]


def face_share(classes: Tensor) -> Tensor:
    """(N, 1, H, W) classes to (N,): the share of FEATURES in the ellipse that a face fills, 0 to 1."""
    height, width = classes.shape[-2:]
    (x, y), (half_width, half_height) = INNER_MIDDLE, INNER_AXES
    across = (torch.arange(width, device=classes.device) + 0.5) / width - x
    down = (torch.arange(height, device=classes.device) + 0.5) / height - y
    inside = (across / half_width).square() + (down / half_height).square()[:, None] < 1
    found = torch.zeros_like(classes, dtype=torch.bool)
    for feature in FEATURES:
        found |= classes == feature
    return (found & inside).sum((1, 2, 3)) / inside.sum()


def arcface_matrix(size: int) -> Matrix:
    """(2, 3): aligned crop (size, size) to ArcFace's crop: the similarity with the least squared error."""
    points = TEMPLATE * (size / TEMPLATE_SIZE)
    rows = [row for x, y in points for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    (a, b, right, down), *_ = np.linalg.lstsq(np.array(rows), ARCFACE_TEMPLATE.ravel())
    return np.array([[a, -b, right], [b, a, down]])


def five_point_crops(crops: Tensor) -> Tensor:
    """Aligned crops (N, C, S, S) to ArcFace's (N, C, 112, 112), on their device: blocks averaged, then bilinear, as
    `alignment.cut` does it; mirrored beyond the edge."""
    side = crops.shape[-1]
    matrix = arcface_matrix(side)
    block = max(1, int(1 / np.hypot(matrix[0, 0], matrix[1, 0])))
    missing = -side % block
    small = F.avg_pool2d(F.pad(crops, (0, missing, 0, missing), mode="replicate"), block) if block > 1 else crops
    # From the place of a pixel in ArcFace's crop to its place in `small`, of pixel centres.
    shift = 0.5 / block - 0.5
    back = compose(np.array([[1 / block, 0, shift], [0, 1 / block, shift]]), invert(matrix))
    (a, b, right), (c, d, down) = back.tolist()
    x = torch.arange(ARCFACE_SIZE, device=crops.device, dtype=crops.dtype)
    across, along = a * x + b * x[:, None] + right, c * x + d * x[:, None] + down
    places = torch.stack([across, along], -1) * (2 / (small.shape[-1] - 1)) - 1  # -1 and 1: first and last centre
    places = places.expand(len(crops), -1, -1, -1)
    return F.grid_sample(small, places, mode="bilinear", padding_mode="reflection", align_corners=True)


def face_patches(crops: Tensor) -> Tensor:
    """(N, 3, S, S) in [-1, 1] to HyperIQA's input (N, 5, 3, 224, 224), normalised as for ImageNet."""
    side = crops.shape[-1]
    x0, y0, x1, y1 = (round(fraction * side) for fraction in FACE_BOX)
    face = (crops[..., y0:y1, x0:x1].clamp(-1, 1) + 1) / 2
    box = F.interpolate(face, (BOX_HEIGHT, BOX_WIDTH), mode="bilinear", antialias=True)
    # Channel by channel, with numbers in the kernels' arguments: a tensor of them would be copied to the device.
    normal = [(box[:, n] - IMAGENET_MEAN[n]) / IMAGENET_STD[n] for n in range(3)]
    box = torch.stack(normal, 1)
    return torch.stack([box[..., top : top + PATCH, left : left + PATCH] for top, left in PATCHES], 1)
