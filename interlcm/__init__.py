"""InterLCM: blind face restoration with a latent consistency model (ICLR 2025, arXiv 2502.02215).

Tensors in, tensors out: nothing here knows about archives, storage or clusters. Whole photos are the business of the
subpackage `interlcm.api`, which no module of the model imports (docs/architecture.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlcm.model import InterLCM
    from interlcm.visual_encoder import VisualEncoder
    from interlcm.weights_index import WeightsError

__all__ = ["InterLCM", "VisualEncoder", "WeightsError"]

_MODULES = {"InterLCM": "model", "VisualEncoder": "visual_encoder", "WeightsError": "weights_index"}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): workers that only look up a digest need not hold torch and diffusers."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
