"""The files in a weights folder that the networks of this room read. Importing this module brings no PyTorch."""

from __future__ import annotations

from interlcm.weights_index import Parts, WeightsError

# facexlib's release files (github.com/xinntao/facexlib, releases v0.2.2, v0.1.0 and v0.2.0).
PARSER, RECOGNISER, ASSESSOR = (
    f"face/{name}.pth" for name in ("parsing_parsenet", "recognition_arcface_ir_se50", "assessment_hyperIQA")
)


def has_parser(parts: Parts) -> bool:
    """Whether a weights folder has what parsing masks need."""
    return PARSER in parts


def background_file(parts: Parts, scale: int) -> str:
    """The path of the network that enlarges `scale` (2 or 4) times; WeightsError if the weights folder lacks it."""
    path = f"background/RealESRGAN_x{scale}plus.pth"
    if scale not in (2, 4):
        raise WeightsError(f"--background realesrgan enlarges 2 or 4 times, not {scale}: choose --upscale 2 or 4")
    if path not in parts:
        remedy = "get it with `interlcm weights pull`, or choose --background none"
        raise WeightsError(f"--background realesrgan --upscale {scale} needs {parts.folder / path}: {remedy}")
    return path
