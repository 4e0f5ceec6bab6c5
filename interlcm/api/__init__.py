"""The Python call: whole photos, for notebooks and other people's pipelines (docs/python.md).

A room of its own above `pipeline`, beside the commands in `jobs`. No module of the model imports it: Python loads a
subpackage only where somebody names it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "DetectFaces": "interlcm.api.stages",
    "PasteFaces": "interlcm.api.stages",
    "PhotoError": "pipeline.photos.errors",
    "RestoreFaces": "interlcm.api.stages",
    "RestorePhotos": "interlcm.api.batches",
    "Restored": "interlcm.api.restored",
    "RestoredFace": "interlcm.api.restored",
    "Restorer": "interlcm.api.restorer",
    "Run": "interlcm.api.run",
    "open_run": "interlcm.api.run",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): whoever opens a run needs neither decoders nor the model."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
