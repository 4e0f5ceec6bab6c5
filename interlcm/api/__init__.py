"""The Python call: whole photos, for notebooks and other people's pipelines (docs/python.md).

A room of its own above `pipeline`, beside the commands in `jobs`. No module of the model imports it: Python loads a
subpackage only where somebody names it.
"""

from interlcm.api.batches import RestorePhotos
from interlcm.api.restored import Restored, RestoredFace
from interlcm.api.restorer import Restorer
from interlcm.api.run import Run, open_run
from interlcm.api.stages import DetectFaces, PasteFaces, RestoreFaces
from pipeline.photos.errors import PhotoError

__all__ = [
    "DetectFaces",
    "PasteFaces",
    "PhotoError",
    "RestoreFaces",
    "RestorePhotos",
    "Restored",
    "RestoredFace",
    "Restorer",
    "Run",
    "open_run",
]
