"""The settings of a training of the encoders: the content of its preset, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from interlcm.degradation import Degradation
from interlcm.errors import TrainingError
from interlcm.recipe import Recipe
from interlcm.tasks import TASKS

Settings = TypeVar("Settings")
PRECISIONS = ("bfloat16", "float32")
STARTS = ("new", "variant")


@dataclass(frozen=True)
class TrainingSettings:
    """A preset that trains the encoders.

    Attributes:
        variant: name of the result in its weights folder.
        licence, origin: those of the result, for its index.
        recipe: losses, optimiser, length.
        degradations: how HQ becomes LQ; none for a task that needs none.
        task: restore, colorize or inpaint.
        start: new encoders (the spatial one begins as the UNet), or those of the variant in the weights folder.
        size: side of the crops, px; 0: what the weights were made for.
        flip: how likely a crop is mirrored.
        held_out: number of photos kept from training, for PSNR and sample grids.
        log_every, samples_every, checkpoint_every: iterations between log entries, sample grids with PSNR, checkpoints.
        seed: seed of the encoders' initial weights, the order of the crops, degradations and noise.
    """

    variant: str
    licence: str
    origin: str
    recipe: Recipe
    degradations: tuple[Degradation, ...]
    task: str = "restore"
    start: str = "new"
    size: int = 0
    flip: float = 0.5
    held_out: int = 16
    log_every: int = 20
    samples_every: int = 500
    checkpoint_every: int = 500
    seed: int = 0

    @staticmethod
    def from_preset(name: str, values: dict[str, Any]) -> TrainingSettings:
        """The settings in a preset; TrainingError in one line for what is missing, unknown or impossible."""
        recipe = made(Recipe, f"{name}: recipe", values.get("recipe"))
        listed = values.get("degradations")
        if not isinstance(listed, list):
            raise TrainingError(f"{name}: degradations is a list, which may be empty")
        degradations = tuple(made(Degradation, f"{name}: degradations", one) for one in listed)
        settings = made(TrainingSettings, name, {**values, "recipe": recipe, "degradations": degradations})
        for key, value, known in (
            ("task", settings.task, tuple(TASKS)),
            ("start", settings.start, STARTS),
            ("precision", recipe.precision, PRECISIONS),
        ):
            if value not in known:
                raise TrainingError(f"{name}: {key} is {value!r}; choose {', '.join(known)}")
        if not 2 <= recipe.steps <= 4:
            raise TrainingError(
                f"{name}: steps is {recipe.steps}; choose 2 (the 1-step variant) to 4 (the 3-step variant)"
            )
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, as a YAML or JSON file has them."""
        return asdict(self)

    def check_workers(self, workers: int) -> None:
        """Raise TrainingError unless a batch can be shared among workers and cut into micro-batches."""
        recipe = self.recipe
        if recipe.batch % (workers * recipe.micro_batch):
            each = f"{workers} workers with micro_batch {recipe.micro_batch}"
            raise TrainingError(
                f"batch {recipe.batch} cannot be shared among {each}; choose a multiple of their product"
            )


def made(cls: type[Settings], name: str, values: Any) -> Settings:
    """A dataclass from a mapping of its fields; TrainingError names a field that is missing, unknown or no number."""
    if not isinstance(values, dict):
        raise TrainingError(f"{name}: write one `name: value` on each line")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise TrainingError(f"{name}: there is no {unknown[0]}; there is {', '.join(known)}")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key, value in given.items():
        kind = str(known[key].type)
        if kind in ("float", "int") and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise TrainingError(f"{name}: {key} is {value!r}, not a number; YAML wants 5.0e-5 rather than 5e-5")
    try:
        return cls(**given)
    except TypeError as error:
        raise TrainingError(f"{name}: {str(error).partition(') ')[2]}") from error
