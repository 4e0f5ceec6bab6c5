"""The settings of a run. Results depend on these, the weights and the software alone."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from interlcm.errors import InterLCMError
from interlcm.weights_index import DEMO
from pipeline.config.limits import Limits

FORMAT_NAMES = {"jpg": "jpeg", "tif": "tiff"}  # what people also call a `format`


class SettingsError(InterLCMError):
    """Settings that another version of this software wrote and this one cannot use."""


LATER = ("strength", "max_face", "every_photo", "names")  # settings that the first digests did not have


@dataclass(frozen=True)
class Review:
    """Thresholds for review by a person. A measure beyond its threshold is a review_reason.

    Attributes:
        min_psnr: restored against aligned input, dB. Perfect removal of strong grain (sigma 25 of 255) gives
            20 log10(255 / 25) = 20.2 dB, so a value below 18 dB means more change than grain removal.
        max_delta_e: mean CIEDE2000. The same grain measures 13 to 15 if it differs between channels, and 5 if it is
            grey; above 18 the colours have shifted.
        min_identity: cosine of the ArcFace embeddings. Genuine pairs of LFW score above about 0.3 with such networks.
        min_eye_distance: px in the photo. Below about 16 px there are too few pixels to identify a face.
        min_score: of the detector, 0 to 1. YuNet's score is 0.6 at its threshold and 0.85 or more for a clear face;
            Haar's is 0.5 at its threshold and 0.77 for a clear face.
        max_landmark_error: eye distances. Found faces have 0.03 to 0.11, in profile up to 0.26; a larger misfit is a
            doubt whether it is a face at all.
        min_face_share: 0 to 1. In drawn masks, a whole face has 1, with hair down to the brows 0.91, with the mouth
            covered 0.68, and half a face 0.5; with less it is doubtful whether it is a face. Not measured with the
            published network.
        min_sharpness: variance of the Laplacian of the restored face; a blank or smeared face has less.
    """

    min_psnr: float = 18.0
    max_delta_e: float = 18.0
    min_identity: float = 0.3
    min_eye_distance: float = 16.0
    min_score: float = 0.75
    min_sharpness: float = 5.0
    max_landmark_error: float = 0.3
    min_face_share: float = 0.4


@dataclass(frozen=True)
class Settings:
    """The settings of a run. "auto" values and `trained_steps` are settled before the run starts.

    Attributes:
        weights: URI of a weights folder, or "demo".
        task: restore, colorize or inpaint.
        variant: a variant of the weights folder; empty: the first that supports the task and the steps.
        steps: 2, 3 or 4 timesteps; 0: the most that the variant supports.
        trained_steps: number of timesteps that the variant was trained for; 0 until settled.
        strength: share of the restored face in each face, 0 (the photo as it is) to 1.
        color_fix: wavelet, adain or none; "auto": the task's default.
        aligned: every photo is already a face crop, so no detector runs.
        detector: a name of `faces.detectors.DETECTORS`, or "auto".
        min_face: skip faces narrower than this, px.
        max_face: faces wider than this are left as they are, px; None: none is too wide.
        max_faces: most faces to restore in one photo, best score first.
        center_face: restore only the face nearest to the middle of the photo.
        mask: parsenet (if its weights are there) or ellipse, or "auto".
        upscale: factor for the whole photo: 1, 2 or 4.
        background: how the photo around the faces is enlarged: none (Lanczos) or realesrgan.
        format: of the restored photos: source, jpeg, png, tiff, webp or avif.
        quality: of lossy formats, 1 to 100.
        every_photo: of photos without faces to restore: no (nothing), copy or link (they go into restored/ as they are,
            or enlarged).
        names: of restored files, the same in all attempts: unique, or source (the source's where no two can meet).
        save_faces: write the crops before and after to OUTPUT/faces/.
        raw: what is restored of a camera's raw file: no (nothing), or the full-size preview in it.
        signed: restored photos carry a C2PA manifest.
        dtype: of the model's networks: float32, bfloat16, float16 or "auto".
        seed: of the run; a face's noise is seeded by it, the photo's content and the face's index.
        review, limits: thresholds.
    """

    weights: str = DEMO
    task: str = "restore"
    variant: str = ""
    steps: int = 0
    trained_steps: int = 0
    strength: float = 1.0
    color_fix: str = "auto"
    aligned: bool = False
    detector: str = "auto"
    min_face: int = 24
    max_face: int | None = None
    max_faces: int = 256
    center_face: bool = False
    mask: str = "auto"
    upscale: int = 1
    background: str = "none"
    format: str = "source"
    quality: int = 95
    every_photo: str = "no"
    names: str = "unique"
    save_faces: bool = False
    raw: str = "no"
    signed: bool = False
    dtype: str = "float32"
    seed: int = 0
    review: Review = field(default_factory=Review)
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Settings":
        """The settings from what `asdict` gave, as in run.json; those that an older version did not have get defaults.

        Raises SettingsError for a setting that this version does not know.
        """
        for kind, given in ((Settings, values), (Review, values["review"]), (Limits, values["limits"])):
            if unknown := sorted(given.keys() - {known.name for known in fields(kind)}):
                raise SettingsError(
                    f"setting {unknown[0]!r} is unknown to this version; use the one that began the run"
                )
        nested = {"review": Review(**values["review"]), "limits": Limits(**values["limits"])}
        return Settings(**{**values, **nested})

    def digest(self) -> str:
        """sha256 of the settings, without those that the weights' own digest already covers.

        Later settings do not count while they have their default: results of versions without them are the same, and
        keep their digest.
        """
        values = asdict(self)
        covered = {"weights", "trained_steps"} | {name for name in LATER if values[name] == getattr(Settings, name)}
        counted = {key: value for key, value in values.items() if key not in covered}
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
