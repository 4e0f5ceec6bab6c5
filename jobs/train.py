"""`interlcm train`: make weights from a preset."""

from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
import yaml

from jobs import samples
from jobs.train_encoders import train_encoders

if TYPE_CHECKING:
    from interlcm.demo_training import Crops
    from interlcm.model import InterLCM

PRESETS = Path(__file__).parent / "presets"
KEYS = ("variant", "image_size", "licence", "origin", "seed", "model", "degradation", "stages")  # of a preset


def train(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Square face crops: archives (tar, zip), folders or globs; paths or URIs. Not for demo.",
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="demo, small, 3step, 1step, colorization_1step, inpainting_1step, or a YAML file of your own."
        ),
    ] = "demo",
    output: Annotated[
        str,
        typer.Option(
            metavar="OUTPUT",
            help="Folder to write, or a URI (not for demo). The same OUTPUT continues the training.",
        ),
    ] = "weights-demo",
    weights: Annotated[str, typer.Option(help="Weights folder to start training from, a path or URI.")] = "demo",
    workers: Annotated[
        int, typer.Option(min=0, help="Workers that share each batch, one GPU each; 0: one for each GPU, or one.")
    ] = 0,
    unet: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="UNet (diffusers) to initialise a new spatial encoder from. Default: the LCM's."
        ),
    ] = None,
) -> None:
    """Train weights: the two encoders, as in the InterLCM paper, or the small demo weights (preset demo).

    Start the same command again to continue after a stop or a kill. Training the encoders writes OUTPUT/weights.

    \b
    Examples:
      interlcm train ffhq.zip --preset 3step --output s3://archive/training --weights s3://archive/weights --workers 8
      interlcm restore scans.tar --output restored --weights s3://archive/training/weights
      interlcm train --preset demo --output weights-demo
    """
    settings = read_preset(preset)
    if "recipe" in settings:
        train_encoders(preset, settings, sources or [], output, weights, workers, unet)
        return
    if sources:
        raise typer.BadParameter(f"preset {preset} has its own pictures; leave out {sources[0]}")
    train_demo(settings, Path(output))


def train_demo(settings: dict[str, Any], output: Path) -> None:
    """Train VAE, prior and encoders of small weights; a stopped training continues from its last report."""
    import torch

    from interlcm import demo_training
    from interlcm.model import InterLCM
    from interlcm.warm_start import start_as_identity

    torch.manual_seed(settings["seed"])
    model = InterLCM.untrained(settings["model"], settings["image_size"])
    start_as_identity(model)
    model.to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last)
    crops = sample_crops(settings)
    same_preset(output / "stages" / "preset.yaml", settings)
    stages = {
        "vae": demo_training.train_vae,
        "prior": demo_training.train_prior,
        "encoders": demo_training.train_encoders,
    }
    for name, run in stages.items():
        checkpoint = output / "stages" / f"{name}.pt"
        if checkpoint.exists():
            load_stage(model, checkpoint)
            continue
        stage = demo_training.Stage(**settings["stages"][name])
        unfinished = checkpoint.with_name(f"{name}-unfinished.pt")
        run(model, crops, stage, partial(report, name), unfinished)
        save_stage(model, checkpoint)
        unfinished.unlink()
    model.save_pretrained(output, settings["variant"], licence=settings["licence"], origin=settings["origin"])
    print(f"weights written to {output}; next: interlcm restore SOURCE --output OUTPUT --weights {quote(str(output))}")


def same_preset(path: Path, settings: dict[str, Any]) -> None:
    """Record the preset of the stages in a folder; BadParameter if it was a different one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(settings))
    elif yaml.safe_load(path.read_text()) != settings:
        raise typer.BadParameter(f"{path.parent} was made with other settings; name a new --output, or remove it")


def report(stage: str, step: int, loss: float) -> None:
    print(f"{stage} {step} loss {loss:.5f}", flush=True)


def read_preset(preset: str) -> dict[str, Any]:
    path = PRESETS / f"{preset}.yaml"
    if not path.exists():
        path = Path(preset)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise typer.BadParameter(f"no preset {preset!r}; choose one of {names}, or name a YAML file")
    try:
        settings = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if isinstance(settings, dict) and "recipe" in settings:
        return settings  # for the encoders' training, which checks it itself
    missing = [key for key in KEYS if not isinstance(settings, dict) or key not in settings]
    if missing:
        example = PRESETS / "demo.yaml"
        raise typer.BadParameter(f"{path}: a preset needs {', '.join(missing)}; start from a copy of {example}")
    return settings


def sample_crops(settings: dict[str, Any]) -> "Crops":
    import torch

    from interlcm.degradation import Degradation
    from interlcm.demo_training import Crops
    from pipeline.training.settings import made

    pictures = samples.training_pictures()
    return Crops(
        pictures=[torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))) for pixels, _ in pictures],
        weights=[weight for _, weight in pictures],
        degradation=made(Degradation, "degradation", settings["degradation"]),
        seed=settings["seed"],
    )


def save_stage(model: "InterLCM", checkpoint: Path) -> None:
    import torch

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".part")
    torch.save(model.state_dict(), unfinished)
    unfinished.replace(checkpoint)


def load_stage(model: "InterLCM", checkpoint: Path) -> None:
    import torch

    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
