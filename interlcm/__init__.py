"""InterLCM: blind face restoration with a latent consistency model (ICLR 2025, arXiv 2502.02215).

Tensors in, tensors out: nothing here knows about archives, storage or clusters.
"""

from interlcm.model import InterLCM
from interlcm.visual_encoder import VisualEncoder
from interlcm.weights import WeightsError

__all__ = ["InterLCM", "VisualEncoder", "WeightsError"]
