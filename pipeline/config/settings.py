"""The settings of a run: everything that its results depend on."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from interlcm.weights_index import DEMO
from pipeline.config.limits import Limits


@dataclass(frozen=True)
class Review:
    """When a restored face needs a person's eye; a measure beyond its threshold is a review_reason.

    Attributes:
        min_psnr: restored against aligned input, dB. Perfect removal of strong grain (sigma 25 of 255) gives
            20 log10(255 / 25) = 20.2 dB, so less than 18 dB is more change than grain.
        max_delta_e: mean CIEDE2000. The same grain, of its own in each channel, measures 13 to 15 (grey grain 5);
            beyond 18 the colours moved.
        min_identity: cosine of the ArcFace embeddings. LFW's genuine pairs lie above about 0.3 for such networks.
        min_eye_distance: px in the photo. Below about 16 there are too few pixels to tell whose face it was.
        min_score: of the detector, 0 to 1. YuNet's is 0.6 at its threshold and 0.85 or more for a plain face; Haar's is
            0.5 at its threshold and 0.77 for a plain face.
        min_sharpness: variance of the Laplacian of the restored face: a blank or smeared face is below.
    """

    min_psnr: float = 18.0
    max_delta_e: float = 18.0
    min_identity: float = 0.3
    min_eye_distance: float = 16.0
    min_score: float = 0.75
    min_sharpness: float = 5.0


@dataclass(frozen=True)
class Settings:
    """What a photo's result depends on, with the weights and the software.

    Attributes:
        weights: URI of a weights folder, or "demo".
        task: restore, colorize or inpaint.
        variant: which of the folder's variants; empty: the first that serves the task and the steps.
        steps: 2, 3 or 4 timesteps; 0: the most that the variant serves.
        trained_steps: for how many timesteps the variant was trained; 0 until it is settled before the run starts.
        color_fix: wavelet, adain or none; "auto", which is the task's own, is settled before the run starts.
        aligned: every photo is a face crop already, so nothing is detected.
        detector: a name of `detect.DETECTORS`; "auto" is settled before the run starts.
        min_face: faces narrower than this are left alone, px.
        max_faces: of one photo, the best ones.
        center_face: of the faces only the one nearest to the middle of the photo.
        mask: parsenet (when its weights are there) or ellipse; "auto" is settled before the run starts.
        upscale: 1, 2 or 4, of the whole photo.
        background: how the photo is enlarged around the faces: none (Lanczos) or realesrgan.
        format: of the restored photos: source, jpeg, png, tiff, webp or avif.
        quality: of lossy formats, 1 to 100.
        save_faces: write crops, before and after, to OUTPUT/faces/.
        raw: what is restored of a camera's raw file: no (nothing), or the full-size preview in it.
        signed: restored photos carry a C2PA manifest.
        dtype: of the model's networks: float32, bfloat16 or float16; "auto" is settled before the run starts.
        seed: of the run; with a photo's content and a face's place it seeds the face's noise.
        review, limits: thresholds.
    """

    weights: str = DEMO
    task: str = "restore"
    variant: str = ""
    steps: int = 0
    trained_steps: int = 0
    color_fix: str = "auto"
    aligned: bool = False
    detector: str = "auto"
    min_face: int = 24
    max_faces: int = 256
    center_face: bool = False
    mask: str = "auto"
    upscale: int = 1
    background: str = "none"
    format: str = "source"
    quality: int = 95
    save_faces: bool = False
    raw: str = "no"
    signed: bool = False
    dtype: str = "float32"
    seed: int = 0
    review: Review = field(default_factory=Review)
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Settings":
        """The settings that `asdict` wrote, into run.json for one."""
        nested = {"review": Review(**values["review"]), "limits": Limits(**values["limits"])}
        return Settings(**{**values, **nested})

    def digest(self) -> str:
        """sha256 of the settings; what depends on the weights does not count, their own digest says what they are."""
        counted = {key: value for key, value in asdict(self).items() if key not in ("weights", "trained_steps")}
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
