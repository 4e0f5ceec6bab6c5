"""The Python call: whole photos, for notebooks and other people's pipelines (docs/python.md).

Users import these names from `interlcm`, which finds them by the entry points in pyproject.toml.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.api.batches import RestorePhotos
    from jobs.api.restored import Restored, RestoredFace
    from jobs.api.restorer import Restorer
    from jobs.api.run import Run, open_run
    from jobs.api.stages import DetectFaces, PasteFaces, RestoreFaces
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
    "DetectFaces": "jobs.api.stages",
    "PasteFaces": "jobs.api.stages",
    "PhotoError": "pipeline.photos.errors",
    "RestoreFaces": "jobs.api.stages",
    "RestorePhotos": "jobs.api.batches",
    "Restored": "jobs.api.restored",
    "RestoredFace": "jobs.api.restored",
    "Restorer": "jobs.api.restorer",
    "Run": "jobs.api.run",
    "open_run": "jobs.api.run",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): whoever opens a run needs neither decoders nor the model."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
