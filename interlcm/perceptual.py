"""LPIPS, the perceptual distance of Zhang and others (CVPR 2018, arXiv 1801.03924): training loss and metric alike.

The variant `vgg` of version 0.1. Its two files lie in a weights folder under their published names:

    metrics/vgg16-397923af.pth   torchvision's VGG16, trained on ImageNet; the classifier is not used
    metrics/vgg.pth              the linear heads of LPIPS
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg16

from interlcm.convert import read_checkpoint
from interlcm.weights_content import check_state
from interlcm.weights_index import Parts, WeightsError

TRUNK, HEADS = "metrics/vgg16-397923af.pth", "metrics/vgg.pth"
# Places of relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 in torchvision's list of layers, and their channels.
LAYERS = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}
# ImageNet's mean and deviation, RGB in [0, 1], as the paper's code states them for [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Perceptual(nn.Module):
    """Distance of pictures in the features of a frozen VGG16: 0 for equal ones, about 0.8 for unlike ones.

    It has no weights until they are loaded: `Perceptual.load` gives one that is ready.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):  # drawing 138 million random weights takes seconds
            self.trunk = vgg16(weights=None).features[: max(LAYERS) + 1]
            self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in LAYERS.values())
        for layer in self.trunk:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # it would overwrite what the gradient needs
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, parts: Parts) -> Perceptual:
        """The network from a local weights folder, frozen, on the CPU; WeightsError names a file that is missing or
        holds something else."""
        network = cls()
        fill(network.trunk, parts, TRUNK, prefix="features.")
        heads = {f"{n}.weight": f"lin{n}.model.1.weight" for n in range(len(LAYERS))}
        fill(network.heads, parts, HEADS, names=heads)
        return network.requires_grad_(False).eval()

    def forward(self, pictures: Tensor, references: Tensor) -> Tensor:
        """(N,) distances of two batches (N, 3, H, W) RGB in [-1, 1]; H and W at least 16."""
        ours, theirs = self.features(pictures), self.features(references)
        # Unit length along the channels; `normalize`, unlike a division by a root, has a gradient at zero.
        distances = (
            head((F.normalize(one, eps=1e-10) - F.normalize(other, eps=1e-10)).square()).mean((1, 2, 3))
            for head, one, other in zip(self.heads, ours, theirs, strict=True)
        )
        return torch.stack(list(distances)).sum(0)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """(N, C, h, w) float32 after each of LAYERS."""
        x, found = (pictures - self.shift) / self.scale, []
        for place, layer in enumerate(self.trunk):
            x = layer(x)
            if place in LAYERS:
                found.append(x.float())
        return found


def fill(module: nn.Module, parts: Parts, path: str, prefix: str = "", names: dict[str, str] | None = None) -> None:
    """Fill a module from a checkpoint in which its tensors have a prefix or other names."""
    file = parts.folder / path
    if path not in parts:
        raise WeightsError(f"{file} is missing; get it with `interlcm weights pull --metrics`")
    state = read_checkpoint(parts, path)
    names = names or {key: prefix + key for key in module.state_dict()}
    found = {key: state[name] for key, name in names.items() if name in state}
    check_state(module, found, file)
    module.load_state_dict(found, assign=True)
