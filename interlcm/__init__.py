"""InterLCM: blind face restoration with a latent consistency model (ICLR 2025, arXiv 2502.02215).

Tensors in, tensors out: nothing here knows about archives, storage or clusters. The Python call for whole photos
(docs/python.md) is imported by this name, too: the installed distribution says where it is.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlcm.model import InterLCM
    from interlcm.visual_encoder import VisualEncoder
    from interlcm.weights_index import WeightsError

__all__ = ["InterLCM", "VisualEncoder", "WeightsError"]

_MODULES = {"InterLCM": "model", "VisualEncoder": "visual_encoder", "WeightsError": "weights_index"}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): workers that only look up a digest need not hold torch and diffusers."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if not name.startswith("_"):
        for entry in entry_points(group=__name__, name=name):
            return entry.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
