"""Files of random weights in the layout of those that facexlib and Real-ESRGAN publish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from facexlib.alignment.awing_arch import FAN
from facexlib.assessment.hyperiqa_net import HyperIQA
from facexlib.detection.retinaface import RetinaFace
from facexlib.parsing.parsenet import ParseNet
from facexlib.recognition.arcface_arch import Backbone
from torch import nn
from torchvision.models import vgg16
from torchvision.models.resnet import Bottleneck

from interlcm.perceptual import HEADS, LAYERS, TRUNK
from interlcm.weights_index import describe, merge_index, read_index, write_index
from pipeline.faces.detectors import RETINAFACE_FILES
from pipeline.networks.files import ASSESSOR, PARSER, RECOGNISER
from pipeline.networks.landmarks import HOURGLASSES, LANDMARKS, POINTS

FEATURES, GROWTH, BLOCKS = 8, 32, 1  # of Real-ESRGAN; published: 64, 32, 23


@dataclass
class FacexlibNetworks:
    """The networks whose weights `write_face_networks` wrote."""

    parser: ParseNet
    recogniser: Backbone
    assessor: HyperIQA


def write_face_networks(folder: Path) -> FacexlibNetworks:
    """facexlib's three networks, with random weights, as files of a weights folder."""
    torch.manual_seed(0)
    parser = ParseNet(in_size=512, out_size=512, parsing_ch=19)
    with torch.no_grad():  # so that no class is the most likely everywhere
        weight = parser.out_mask_conv.conv2d.weight
        weight.sub_(weight.mean((1, 2, 3), keepdim=True))
        parser.out_mask_conv.conv2d.bias.zero_()
    recogniser = Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")
    assessor = HyperIQA(16, 112, 224, 112, 56, 28, 14, 7)
    (folder / PARSER).parent.mkdir(parents=True, exist_ok=True)
    # All but ParseNet's are published in PyTorch's first file format.
    torch.save(parser.state_dict(), folder / PARSER)
    torch.save(recogniser.state_dict(), folder / RECOGNISER, _use_new_zipfile_serialization=False)
    torch.save(assessor.hypernet.state_dict(), folder / ASSESSOR, _use_new_zipfile_serialization=False)
    return FacexlibNetworks(parser.eval(), recogniser.eval(), assessor.eval())


def write_retinaface(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The detector of this name as facexlib publishes it, with random weights whose scores are spread over all values;
    its state dict. The keys in the file have DataParallel's prefix."""
    file, network_name = RETINAFACE_FILES[name]
    network = RetinaFace(network_name=network_name, half=False, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    heads = [*network.ClassHead.modules(), *network.BboxHead.modules(), *network.LandmarkHead.modules()]
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)  # else each block of ResNet-50 doubles the signal
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1, generator=generator)
            if module in heads:
                module.weight.data *= 0.01
                assert module.bias is not None
                nn.init.zeros_(module.bias)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, torch.Tensor] = network.state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, folder / file)
    return state


def write_background_network(path: Path, scale: int) -> Path:
    """A small Real-ESRGAN with the keys of RealESRGAN_x4plus.pth or, for scale 2, of RealESRGAN_x2plus.pth."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, inputs: int, outputs: int) -> None:
        state[f"{name}.weight"] = torch.randn((outputs, inputs, 3, 3), generator=generator) / (3 * inputs**0.5)
        state[f"{name}.bias"] = 0.05 * torch.rand(outputs, generator=generator)

    # The x2 network takes squares of 2 x 2 px as channels and enlarges those 4 times.
    convolution("conv_first", 3 if scale == 4 else 12, FEATURES)
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for n in range(5):
                outputs = GROWTH if n < 4 else FEATURES
                convolution(f"body.{block}.rdb{dense}.conv{n + 1}", FEATURES + n * GROWTH, outputs)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        convolution(name, FEATURES, FEATURES)
    convolution("conv_last", FEATURES, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"params_ema": state}, path)
    return path


def write_perceptual_network(weights: Path) -> None:
    """LPIPS with random weights in the two files of a weights folder, with the keys of the published ones."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in vgg16(weights=None).features.state_dict().items()}
    # He et al. 2015: the features keep their size from layer to layer.
    trunk = {
        f"features.{name}": torch.randn(shape) * (2 / shape[1:].numel()) ** 0.5
        if len(shape) == 4
        else torch.zeros(shape)
        for name, shape in shapes.items()
    }
    heads = {f"lin{n}.model.1.weight": torch.rand(1, width, 1, 1) for n, width in enumerate(LAYERS.values())}
    (weights / TRUNK).parent.mkdir(parents=True, exist_ok=True)
    torch.save(trunk, weights / TRUNK)
    torch.save(heads, weights / HEADS)


def write_landmark_network(weights: Path) -> FAN:
    """facexlib's FAN with random weights, in the file that it is published in."""
    torch.manual_seed(0)
    network = FAN(num_modules=HOURGLASSES, num_landmarks=POINTS, device="cpu")
    (weights / LANDMARKS).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": network.state_dict()}, weights / LANDMARKS)
    return network.eval()


def write_inception(weights: Path) -> None:
    # Here, because a machine that measures the judges alone lacks the package of the metrics.
    from interlcm.fid import inception
    from pipeline.evaluation.networks import INCEPTION

    torch.manual_seed(0)
    (weights / INCEPTION).parent.mkdir(parents=True, exist_ok=True)
    torch.save(inception().state_dict(), weights / INCEPTION)


def link_files(folder: Path, weights: Path) -> None:
    """Put links to the files of `folder` into a weights folder."""
    for file in folder.rglob("*.*"):
        link = weights / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)


def list_files(weights: Path) -> None:
    """List the files in `face`, `background` and `metrics` in the index of a weights folder."""
    names = ("face", "background", "metrics")
    files = [file for name in names for file in sorted((weights / name).glob("*.*"))]
    parts = [describe(file, file.relative_to(weights).as_posix(), "test", "random", None) for file in files]
    write_index(weights, merge_index(read_index(weights), parts, {}))
