"""Small ONNX files, written byte by byte: the format is protobuf, of which a few kinds of field suffice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

STRIDES = (8, 16, 32)  # of YuNet's three outputs of each kind
FLOAT, INTS, FLOATS = 1, 7, 1


def write_yunet(path: Path) -> None:
    """A network with YuNet's input and outputs that calls each light cell of 32 px a face.

    Its box has the size of the cell and lies around the cell's upper left corner; its points begin there and go to the
    right, a cell each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model(yunet_nodes(), yunet_weights(), outputs()))


def outputs() -> list[str]:
    return [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]


def yunet_nodes() -> list[bytes]:
    """A convolution over the cells for each output; several values of a cell become a row."""
    nodes = []
    for name in outputs():
        stride = int(name.partition("_")[2])
        few = name.startswith(("cls", "obj"))
        attributes = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(node("Conv", ["input", f"{name}.w", f"{name}.b"], name if few else f"{name}.raw", attributes))
        if not few:
            nodes.append(node("Transpose", [f"{name}.raw"], name, {"perm": [0, 2, 3, 1]}))
    return nodes


def yunet_weights() -> dict[str, Any]:
    """A light cell (a mean of 255 over the three channels) gives 1 at stride 32; all else is 0, except the points."""
    channels = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    weights: dict[str, Any] = {}
    for name in outputs():
        kind, _, number = name.partition("_")
        stride = int(number)
        kernel = np.zeros((channels[kind], 3, stride, stride), np.float32)
        if channels[kind] == 1 and stride == 32:
            kernel[:] = 1 / (255 * kernel[0].size)
        bias = np.zeros(channels[kind], np.float32)
        if kind == "kps":
            bias[::2] = range(5)
        weights |= {f"{name}.w": kernel, f"{name}.b": bias}
    return weights


def model(nodes: list[bytes], weights: dict[str, Any], names: list[str]) -> bytes:
    """A ModelProto of IR version 8 and operator set 13 whose input is (1, 3, H, W)."""
    parts = [field(1, one) for one in nodes]
    parts += [field(2, b"yunet"), *(field(5, tensor(name, array)) for name, array in weights.items())]
    parts += [field(11, value("input", [1, 3, 640, 640])), *(field(12, value(name, [1])) for name in names)]
    return field(1, 8) + field(8, field(2, 13)) + field(7, b"".join(parts))


def node(operator: str, inputs: list[str], output: str, attributes: dict[str, list[int]]) -> bytes:
    made = [field(1, one.encode()) for one in inputs] + [field(2, output.encode()), field(4, operator.encode())]
    for name, numbers in attributes.items():
        made.append(field(5, field(1, name.encode()) + b"".join(field(8, n) for n in numbers) + field(20, INTS)))
    return b"".join(made)


def tensor(name: str, array: Any) -> bytes:
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, FLOATS) + field(8, name.encode()) + field(9, array.astype("<f4").tobytes())


def value(name: str, shape: list[int]) -> bytes:
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name.encode()) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    made = b""
    while number > 0x7F:
        made += bytes([number & 0x7F | 0x80])
        number >>= 7
    return made + bytes([number])
