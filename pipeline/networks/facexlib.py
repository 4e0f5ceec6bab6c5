"""Second opinions on restored faces by facexlib's networks: which pixels are face, identity and quality.

The networks look at a whole micro-batch at once, on the device, in float32. Micro-batches of a run have one size, so
mask and numbers of a face do not depend on its company. The networks are built here, because facexlib's own init
functions download missing files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interlcm.device import Download
from interlcm.weights_index import Parts, WeightsError
from pipeline.networks.facexlib_formats import PATCHES, face_patches, face_share, five_point_crops, masks_of
from pipeline.networks.files import ASSESSOR, PARSER, RECOGNISER, has_parser

# ParseNet's input, and its classes: those of CelebAMask-HQ.
PARSE_SIZE, PARSE_CLASSES = 512, 19


class FaceNetworks:
    """facexlib's networks whose files a weights folder lists, if any; a method without its network returns None.

    Faces go in as (N, 3, S, S) float32, RGB, [-1, 1], aligned to the FFHQ template; any S.
    Raises WeightsError for a file that is not as listed or does not hold its network's weights.
    """

    def __init__(self, parts: Parts | None, device: torch.device | str = "cpu") -> None:
        # facexlib is imported where a file needs it: without files a run does without the package.
        self.device, self._parts = torch.device(device), parts
        self._parser = self._recogniser = self._assessor = None
        if parts is None:
            return
        if has_parser(parts):
            from facexlib.parsing.parsenet import ParseNet

            self._parser = self._ready(partial(ParseNet, PARSE_SIZE, PARSE_SIZE, parsing_ch=PARSE_CLASSES), PARSER)
        if RECOGNISER in parts:
            from facexlib.recognition.arcface_arch import Backbone

            self._recogniser = self._ready(partial(Backbone, 50, drop_ratio=0.6, mode="ir_se"), RECOGNISER)
        if ASSESSOR in parts:
            from facexlib.assessment.hyperiqa_net import HyperIQA

            # Sizes of facexlib/assessment/__init__.py. The file has the weights of the hypernet: all that there are.
            make = partial(HyperIQA, 16, 112, 224, 112, 56, 28, 14, 7)
            self._assessor = self._ready(make, ASSESSOR, "hypernet.")

    @property
    def names(self) -> str:
        """The networks that are there, such as "ParseNet, ArcFace"; empty if there is none."""
        known = {"ParseNet": self._parser, "ArcFace": self._recogniser, "HyperIQA": self._assessor}
        return ", ".join(name for name, network in known.items() if network is not None)

    def _ready(self, make: Callable[[], nn.Module], path: str, prefix: str = "") -> nn.Module:
        """The network that `make` builds, with the weights of a file. prefix: what the file's keys lack."""
        assert self._parts is not None
        with torch.device("meta"):  # random weights would be drawn only to be replaced
            network = make()
        load(network, self._parts, path, prefix)
        return network.eval().to(self.device)

    @torch.inference_mode()
    def judge(self, aligned: Tensor, restored: Tensor, parse: bool) -> Opinions:
        """What all networks say of the faces, still on the device. parse: whether masks are wanted.

        The numbers come from one call of each network, with the faces before and after side by side.
        """
        both, count = torch.cat([aligned, restored]), len(restored)
        numbers = {}
        if self._recogniser is not None:
            embedded = self._embeddings(self._recogniser, both)
            numbers["identity_similarity"] = (embedded[:count] * embedded[count:]).sum(1)
        if self._assessor is not None:
            quality = self._qualities(self._assessor, both)
            numbers["quality_before"], numbers["quality_after"] = quality[:count], quality[count:]
        masks = None
        if parse and self._parser is not None:
            classes = self._classes(self._parser, restored)
            masks, numbers["face_share"] = masks_of(classes, restored.shape[-1]), face_share(classes)
        return Opinions(masks, numbers)

    @torch.inference_mode()
    def masks(self, restored: Tensor) -> npt.NDArray[np.uint8] | None:
        """(N, S, S): 255 where the restored picture shows a face (with ears and hair), 0 elsewhere, hard edges.

        As in facexlib: the restored crop at 512 x 512, bilinear, [-1, 1]; the most likely class of each pixel.
        """
        if self._parser is None:
            return None
        return masks_of(self._classes(self._parser, restored.to(self.device)), restored.shape[-1]).cpu().numpy()

    def _classes(self, parser: nn.Module, crops: Tensor) -> Tensor:
        """(N, 1, 512, 512) the most likely class of each pixel."""
        logits: Tensor = parser(F.interpolate(crops.clamp(-1, 1), PARSE_SIZE, mode="bilinear"))[0]
        return logits.argmax(1, keepdim=True)

    @torch.inference_mode()
    def identity(self, aligned: Tensor, restored: Tensor) -> list[float] | None:
        """For each face the cosine of the two ArcFace embeddings (arXiv 1801.07698), -1 to 1; 1 is the same picture."""
        if self._recogniser is None:
            return None
        pairs = self._embeddings(self._recogniser, torch.cat([aligned, restored]).to(self.device)).chunk(2)
        return [float(one) for one in (pairs[0] * pairs[1]).sum(1).cpu()]

    def _embeddings(self, recogniser: nn.Module, crops: Tensor) -> Tensor:
        """(N, 512), of length 1.

        The network was trained on crops in the order BGR, [-1, 1] (TreB1eN/InsightFace_Pytorch, the source of
        facexlib's file, stores what OpenCV reads; bytedance/InfiniteYou feeds facexlib's so too).
        """
        return recogniser(five_point_crops(crops.clamp(-1, 1).flip(1)).contiguous())

    @torch.inference_mode()
    def quality(self, crops: Tensor) -> list[float] | None:
        """For each face the no-reference quality by HyperIQA (CVPR 2020) trained on KonIQ-10k: about 0 to 100, higher
        is better. The mean over the corners and the middle of the face box, where facexlib takes ten random crops."""
        if self._assessor is None:
            return None
        return [float(one) for one in self._qualities(self._assessor, crops.to(self.device)).cpu()]

    def _qualities(self, assessor: nn.Module, crops: Tensor) -> Tensor:
        """(N,)"""
        patches: Tensor = assessor(face_patches(crops).flatten(0, 1))
        return patches.reshape(len(crops), len(PATCHES)).mean(1)


@dataclass(frozen=True)
class Opinions:
    """What the networks say of N faces, on the device.

    Attributes:
        masks: (N, S, S) uint8, or None.
        numbers: identity_similarity, quality_before, quality_after and, with masks, face_share; (N,) each, of the
            networks that are there.
    """

    masks: Tensor | None
    numbers: dict[str, Tensor]

    def sent(self) -> Packed:
        """On their way to the host, everything in one copy."""
        columns = [one.float()[:, None].contiguous().view(torch.uint8) for one in self.numbers.values()]
        if self.masks is not None:
            columns.append(self.masks.flatten(1))
        packed = Download(torch.cat(columns, 1)) if columns else None
        return Packed(packed, tuple(self.numbers), None if self.masks is None else self.masks.shape)


@dataclass(frozen=True)
class Packed:
    """Opinions on their way to the host.

    Attributes:
        data: bytes (N, B): the float32 numbers of each face, then its mask; None if no network says anything.
        names: of the numbers.
        shape: of all masks, (N, S, S), or None.
    """

    data: Download | None
    names: tuple[str, ...]
    shape: tuple[int, ...] | None

    def read(self) -> tuple[npt.NDArray[np.uint8] | None, list[dict[str, float]]]:
        """The masks, and the numbers of each face, once they are there."""
        if self.data is None:
            return None, []
        data, split = self.data.numpy(), 4 * len(self.names)
        values = np.ascontiguousarray(data[:, :split]).view(np.float32).tolist()
        masks = None if self.shape is None else data[:, split:].reshape(self.shape)
        return masks, [dict(zip(self.names, face, strict=True)) for face in values]


def load(network: nn.Module, parts: Parts, path: str, prefix: str = "") -> None:
    """Give a network without storage the tensors of one of facexlib's files, running no code from it.

    prefix: what the file's keys lack. Raises WeightsError if the file holds other keys.
    """
    from interlcm.convert import read_checkpoint  # here: without files a run does without it, too

    try:
        state = {prefix + key: value for key, value in read_checkpoint(parts, path).items()}
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        name, remedy = type(network).__name__, "remove it and get it with `interlcm weights pull`"
        raise WeightsError(f"{parts.folder / path} does not hold the weights of {name}; {remedy}") from error
    network.float()  # as the networks compute, whatever the file's precision
