"""`interlcm train`: make weights from a preset."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from interlcm.model import InterLCM
    from interlcm.training import Crops

PRESETS = Path(__file__).parent / "presets"
KEYS = ("variant", "image_size", "licence", "origin", "seed", "model", "degradation", "stages")  # of a preset


def train(
    preset: Annotated[str, typer.Option(help="Name of a preset: demo, or the path of a YAML file like it.")] = "demo",
    output: Annotated[Path, typer.Option(help="Weights folder to write; stages/ in it lets a run continue.")] = Path(
        "weights-demo"
    ),
) -> None:
    """Train weights and write them as a weights folder.

    A stage that has finished is not trained again: start the same command once more to continue.

    Example:

      interlcm train --preset demo --output weights-demo

      interlcm restore photos.tar --output restored --weights weights-demo
    """
    import torch

    from interlcm import training
    from interlcm.model import InterLCM
    from interlcm.warm_start import start_as_identity

    settings = read_preset(preset)
    torch.manual_seed(settings["seed"])
    model = InterLCM.untrained(settings["model"], settings["image_size"])
    start_as_identity(model)
    model.to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last)
    crops = sample_crops(settings)
    same_preset(output / "stages" / "preset.yaml", settings)
    stages = {"vae": training.train_vae, "prior": training.train_prior, "encoders": training.train_encoders}
    for name, run in stages.items():
        checkpoint = output / "stages" / f"{name}.pt"
        if checkpoint.exists():
            load_stage(model, checkpoint)
            continue
        stage = training.Stage(**settings["stages"][name])
        run(model, crops, stage, partial(report, name))
        save_stage(model, checkpoint)
    model.save_pretrained(output, settings["variant"], licence=settings["licence"], origin=settings["origin"])
    print(f"weights written to {output}; next: interlcm restore SOURCE --output OUTPUT --weights {output}")


def same_preset(path: Path, settings: dict[str, Any]) -> None:
    """Remember the preset that the stages in a folder come from; BadParameter when it was another."""
    import yaml

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(settings))
    elif yaml.safe_load(path.read_text()) != settings:
        raise typer.BadParameter(f"{path.parent} was made from other settings; name a new --output, or remove it")


def report(stage: str, step: int, loss: float) -> None:
    print(f"{stage} {step} loss {loss:.5f}", flush=True)


def read_preset(preset: str) -> dict[str, Any]:
    import yaml

    path = PRESETS / f"{preset}.yaml"
    if not path.exists():
        path = Path(preset)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise typer.BadParameter(f"no preset {preset!r}; there is {names}, or name a YAML file")
    try:
        settings = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    missing = [key for key in KEYS if not isinstance(settings, dict) or key not in settings]
    if missing:
        example = PRESETS / "demo.yaml"
        raise typer.BadParameter(f"{path}: a preset needs {', '.join(missing)}; begin with a copy of {example}")
    return settings


def sample_crops(settings: dict[str, Any]) -> "Crops":
    import numpy as np
    import torch

    from interlcm.degradation import Degradation
    from interlcm.training import Crops
    from jobs import samples

    pictures = samples.training_pictures()
    return Crops(
        pictures=[torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))) for pixels, _ in pictures],
        weights=[weight for _, weight in pictures],
        degradation=Degradation(**{key: tuple(bounds) for key, bounds in settings["degradation"].items()}),
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
