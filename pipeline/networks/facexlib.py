"""Second opinions on a restored face by facexlib's networks: which pixels are face, identity and quality.

Each network looks at one face at a time, so that mask and numbers of a face do not depend on its batch. The
networks are built here, because facexlib's own init functions download missing files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interlcm.weights_index import WeightsError
from pipeline.faces.alignment import TEMPLATE, TEMPLATE_SIZE, Matrix, cut

# facexlib's release files (github.com/xinntao/facexlib, releases v0.2.2, v0.1.0 and v0.2.0).
PARSER, RECOGNISER, ASSESSOR = "parsing_parsenet.pth", "recognition_arcface_ir_se50.pth", "assessment_hyperIQA.pth"

# ParseNet's 19 classes are those of CelebAMask-HQ. facexlib replaces skin, features, ears, hair, glasses and earrings;
# background (0), hat (14), necklace (16), neck (17) and cloth (18) stay (utils/face_restoration_helper.py,
# paste_faces_to_input_image).
PARSE_SIZE, PARSE_CLASSES = 512, 19
NOT_FACE = (0, 14, 16, 17, 18)

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


def has_parser(face_folder: Path) -> bool:
    """Whether the `face` folder of a weights folder has what parsing masks need."""
    return (face_folder / PARSER).is_file()


class FaceNetworks:
    """facexlib's networks whose weights are in the `face` folder; a method without its network returns None.

    Faces go in as (3, S, S) float, RGB, [-1, 1], aligned to the FFHQ template; any S. N of them may be one tensor.
    Raises WeightsError for a file that does not hold its network's weights.
    """

    def __init__(self, face_folder: Path, device: torch.device | str = "cpu") -> None:
        # facexlib is imported where a file needs it: a caller of `has_parser` does not wait, and without files a run
        # does without the package.
        self.device = torch.device(device)
        self._parser = self._recogniser = self._assessor = None
        if has_parser(face_folder):
            from facexlib.parsing.parsenet import ParseNet

            self._parser = self._ready(ParseNet(PARSE_SIZE, PARSE_SIZE, parsing_ch=PARSE_CLASSES), face_folder / PARSER)
        if (face_folder / RECOGNISER).is_file():
            from facexlib.recognition.arcface_arch import Backbone

            self._recogniser = self._ready(Backbone(50, drop_ratio=0.6, mode="ir_se"), face_folder / RECOGNISER)
        if (face_folder / ASSESSOR).is_file():
            from facexlib.assessment.hyperiqa_net import HyperIQA

            assessor = HyperIQA(16, 112, 224, 112, 56, 28, 14, 7)  # facexlib/assessment/__init__.py
            load(assessor.hypernet, face_folder / ASSESSOR)
            self._assessor = assessor.eval().to(self.device)

    @property
    def names(self) -> str:
        """The networks that are there, such as "ParseNet, ArcFace"; empty if there is none."""
        known = {"ParseNet": self._parser, "ArcFace": self._recogniser, "HyperIQA": self._assessor}
        return ", ".join(name for name, network in known.items() if network is not None)

    def _ready(self, network: nn.Module, path: Path) -> nn.Module:
        load(network, path)
        return network.eval().to(self.device)

    @torch.inference_mode()
    def masks(self, restored: Iterable[Tensor]) -> npt.NDArray[np.uint8] | None:
        """(N, S, S): 255 where the restored picture shows a face (with ears and hair), 0 elsewhere, hard edges.

        As in facexlib: the restored crop at 512 x 512, bilinear, [-1, 1]; the most likely class of each pixel.
        """
        if self._parser is None:
            return None
        return torch.cat([self._mask(self._parser, one[None].to(self.device)) for one in restored]).cpu().numpy()

    def _mask(self, parser: nn.Module, crop: Tensor) -> Tensor:
        logits, _ = parser(F.interpolate(crop.clamp(-1, 1), PARSE_SIZE, mode="bilinear"))
        outside = torch.tensor(NOT_FACE, device=crop.device)
        face = (~torch.isin(logits.argmax(1, keepdim=True), outside)).float()
        return (F.interpolate(face, crop.shape[-1], mode="area") * 255).round().byte()[:, 0]

    @torch.inference_mode()
    def identity(self, aligned: Iterable[Tensor], restored: Iterable[Tensor]) -> list[float] | None:
        """For each face the cosine of the two ArcFace embeddings (arXiv 1801.07698), -1 to 1; 1 is the same picture."""
        if self._recogniser is None:
            return None
        return [
            float(self._embedding(self._recogniser, one) @ self._embedding(self._recogniser, other))
            for one, other in zip(aligned, restored, strict=True)
        ]

    def _embedding(self, recogniser: nn.Module, crop: Tensor) -> Tensor:
        """(512,), of length 1. The network was trained on crops in the order BGR, [-1, 1] (TreB1eN/InsightFace_Pytorch,
        the source of facexlib's file, stores what OpenCV reads; bytedance/InfiniteYou feeds facexlib's so too)."""
        pixels = crop.clamp(-1, 1).permute(1, 2, 0).flip(2).cpu().numpy().astype(np.float32)
        small = torch.from_numpy(cut(pixels, arcface_matrix(len(pixels)), ARCFACE_SIZE))
        return recogniser(small.permute(2, 0, 1)[None].contiguous().to(self.device))[0]

    @torch.inference_mode()
    def quality(self, crops: Iterable[Tensor]) -> list[float] | None:
        """For each face the no-reference quality by HyperIQA (CVPR 2020) trained on KonIQ-10k: about 0 to 100, higher
        is better. The mean over the corners and the middle of the face box, where facexlib takes ten random crops."""
        if self._assessor is None:
            return None
        return [float(self._assessor(face_patches(one).to(self.device)).mean()) for one in crops]


def load(network: nn.Module, path: Path) -> None:
    """Fill a network from one of facexlib's files, running no code from it; WeightsError if it holds other keys."""
    from interlcm.convert import read_checkpoint  # here, for the same reason

    try:
        network.load_state_dict(read_checkpoint(path))
    except RuntimeError as error:
        name, remedy = type(network).__name__, "remove it and get it with `interlcm weights pull`"
        raise WeightsError(f"{path} does not hold the weights of {name}; {remedy}") from error


def arcface_matrix(size: int) -> Matrix:
    """(2, 3): aligned crop (size, size) to ArcFace's crop: the similarity with the least squared error."""
    points = TEMPLATE * (size / TEMPLATE_SIZE)
    rows = [row for x, y in points for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    (a, b, right, down), *_ = np.linalg.lstsq(np.array(rows), ARCFACE_TEMPLATE.ravel())
    return np.array([[a, -b, right], [b, a, down]])


def face_patches(crop: Tensor) -> Tensor:
    """(3, S, S) in [-1, 1] to HyperIQA's input (5, 3, 224, 224), normalised as for ImageNet."""
    side = crop.shape[-1]
    x0, y0, x1, y1 = (round(fraction * side) for fraction in FACE_BOX)
    face = (crop[None, :, y0:y1, x0:x1].clamp(-1, 1) + 1) / 2
    box = F.interpolate(face, (BOX_HEIGHT, BOX_WIDTH), mode="bilinear", antialias=True)[0]
    patches = torch.stack([box[:, top : top + PATCH, left : left + PATCH] for top, left in PATCHES])
    mean, std = (torch.tensor(values, device=crop.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (patches - mean) / std
