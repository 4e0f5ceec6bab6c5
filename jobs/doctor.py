"""`interlcm doctor`: what this machine has, and what a run would use."""

import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec

import psutil

from interlcm.errors import InterLCMError, installs
from interlcm.weights_index import DEMO, opened, parts_of
from jobs.extras import BRINGS
from jobs.options import Weights
from jobs.plan import in_words_of, on_this_machine, plan, ray_from
from pipeline.cluster import connect as cluster
from pipeline.storage.client import CREDENTIALS
from pipeline.weights.local import weights_folder

# Files of a weights folder beside the model, and what a run does with each.
OTHER_PARTS = {
    "face/face_detection_yunet_2023mar.onnx": "detector yunet",
    "face/detection_Resnet50_Final.pth": "detector retinaface_resnet50",
    "face/detection_mobilenet0.25_Final.pth": "detector retinaface_mobile0.25",
    "face/parsing_parsenet.pth": "parsing masks",
    "face/recognition_arcface_ir_se50.pth": "identity similarity",
    "face/assessment_hyperIQA.pth": "quality measures",
    "background/RealESRGAN_x2plus.pth": "background realesrgan, 2 times",
    "background/RealESRGAN_x4plus.pth": "background realesrgan, 4 times",
}


def doctor(weights: Weights = DEMO) -> None:
    """Show what this machine has: packages, cores, memory, GPUs, Ray, weights, detectors, storage settings.

    Nothing is written. Of settings that may be secret only the names are shown.

    \b
    Examples:
      interlcm doctor
      interlcm doctor --weights weights
    """
    print(
        f"interlcm {version('interlcm')}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    print(installed())
    print(f"machine: {machine()}")
    print(f"GPUs: {gpus()}")
    print(f"Ray: {ray()}")
    print(*weights_lines(weights), sep="\n")
    print(f"detector: {detector(weights)}")
    print(f"storage settings: {', '.join(sorted(settings())) or 'none in the environment'}")
    print(f"a run would use: {plan_in_words()}")


def installed() -> str:
    there = {extra: find_spec(module) is not None for extra, module in BRINGS.items()}
    line = "extras: " + (", ".join(extra for extra, found in there.items() if found) or "none")
    missing = [extra for extra, found in there.items() if not found]
    return line + (f"; not installed: {', '.join(missing)} ({installs(missing[0])})" if missing else "")


def machine() -> str:
    """Cores, memory, and free space here and where decoders and the cache of weights put files."""
    memory = psutil.virtual_memory()
    disks = {path: shutil.disk_usage(path).free for path in (tempfile.gettempdir(), os.getcwd())}
    free = ", ".join(f"{size / 1e9:.0f} GB free in {path}" for path, size in disks.items())
    return f"{cluster.cores()} cores, {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free, {free}"


def gpus() -> str:
    if find_spec("torch") is None:
        return "unknown without torch"
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(names) or "none that torch can use; the model would run on the CPU"


def ray() -> str:
    if find_spec("ray") is None:
        return "not installed"
    if not cluster.joined():
        return f"{version('ray')}; RAY_ADDRESS is not set, so a run stays on this machine"
    address = os.environ["RAY_ADDRESS"]
    try:
        cluster.check_listening(address)
    except cluster.ClusterError as error:
        return f"{version('ray')}; {error}"
    found = "the cluster on this machine" if address == "auto" else "which answers"
    return f"{version('ray')}; a run would join RAY_ADDRESS={address}, {found}"


def weights_lines(weights: str) -> list[str]:
    """The variants of a weights folder, and what its other parts bring."""
    try:
        parts = opened(weights_folder(weights))
    except InterLCMError as error:
        return [f"weights: {error}"]
    lines = [f"weights: {weights} ({parts.folder})"]
    for variant, about in parts.index["variants"].items():
        size = sum(part.get("bytes", 0) for part in parts_of(parts.index, variant)) / 1e6
        lines.append(f"  {variant}: task {about['task']}, steps {', '.join(map(str, about['steps']))}, {size:.0f} MB")
    lines += [f"  {words}: {path}" for path, words in OTHER_PARTS.items() if path in parts]
    if weights == DEMO:
        lines.append("  they only show how it works; for the published weights: interlcm weights pull weights")
    return lines


def detector(weights: str) -> str:
    if find_spec("cv2") is None:
        return f"none without OpenCV ({installs('restore')})"
    from pipeline.faces.detectors import load_detector

    try:
        return f"{load_detector('auto', opened(weights_folder(weights))).name} (--detector auto)"
    except InterLCMError as error:
        return str(error)


def settings() -> list[str]:
    """The names of storage settings, which may hold secrets."""
    return [name for name in os.environ if name.startswith(CREDENTIALS)]


def plan_in_words() -> str:
    if find_spec("torch") is None:
        return f"nothing yet; to restore, {installs('restore')}"
    resources = plan((0, 0), None, None)
    photos, reason = ray_from("auto", resources)
    engine = f"Ray ({reason})" if photos == 0 else f"this process ({reason or on_this_machine(photos)})"
    return f"{engine}; actors: {in_words_of(resources)}"
