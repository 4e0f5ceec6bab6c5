"""`interlcm train`: make weights from a preset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from interlcm.model import InterLCM
    from interlcm.training import Crops

PRESETS = Path(__file__).parent / "presets"


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

    settings = read_preset(preset)
    torch.manual_seed(settings["seed"])
    model = InterLCM.untrained(settings["model"], settings["image_size"]).to(memory_format=torch.channels_last)
    crops = sample_crops(settings)
    stages = {"vae": training.train_vae, "prior": training.train_prior, "encoders": training.train_encoders}
    for name, run in stages.items():
        checkpoint = output / "stages" / f"{name}.pt"
        if checkpoint.exists():
            load_stage(model, checkpoint)
            continue
        stage = training.Stage(**settings["stages"][name])
        run(model, crops, stage, lambda step, loss, name=name: print(f"{name} {step} loss {loss:.5f}", flush=True))
        save_stage(model, checkpoint)
    model.save_pretrained(output, settings["variant"], licence=settings["licence"], origin=settings["origin"])
    print(f"weights written to {output}; next: interlcm restore SOURCE --output OUTPUT --weights {output}")


def read_preset(preset: str) -> dict[str, Any]:
    import yaml

    path = PRESETS / f"{preset}.yaml"
    if not path.exists():
        path = Path(preset)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise typer.BadParameter(f"no preset {preset!r}; there is {names}, or name a YAML file")
    return yaml.safe_load(path.read_text())


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
    torch.save({"model": model.state_dict(), "scaling_factor": model.vae.config.scaling_factor}, unfinished)
    unfinished.replace(checkpoint)


def load_stage(model: "InterLCM", checkpoint: Path) -> None:
    import torch

    saved = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(saved["model"])
    model.vae.register_to_config(scaling_factor=saved["scaling_factor"])
