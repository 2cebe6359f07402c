"""Large-chunk test-time training: an encoder whose layers learn while they read (LaCT, Zhang et al. 2025).

Self-attention keeps every key and value and compares each frame with all of them, at a cost that grows with the square
of the length. Here a small network keeps them in its weights: while an utterance is read, gradient steps teach it to
answer the key of a frame with its value, and then it is asked the query of a frame. These *fast weights* belong to one
utterance and are forgotten after it; what training learns are their first values, and how fast they learn. A step is
taken for a whole chunk of frames, so that it is a few large matrix products. What lies near is left to attention over a
window. The cost of both grows with the length alone.

``fast_weights`` is the memory, ``encoder`` the layer and the encoder made of it, ``model`` the recogniser. The paper is
"Test-Time Training Done Right", arXiv 2505.23884, section 3. Its sequences have thousands to a million tokens, and so
have its chunks. A spoken sentence has some hundred frames, and chunks of 16 to 128.
"""

from asr_tutorial.lact.encoder import AudioEncoder, ConvLactLayer, LactEncoder, LactLayer, window_attention
from asr_tutorial.lact.fast_weights import (
    FastWeights,
    Memory,
    apply_then_update,
    chunk_update,
    fast_gradient,
    l2_norm,
    orthogonalise,
    row_norms,
    swiglu,
    update_then_apply,
)
from asr_tutorial.lact.model import LactTransformer

__all__ = [
    "AudioEncoder",
    "ConvLactLayer",
    "FastWeights",
    "LactEncoder",
    "LactLayer",
    "LactTransformer",
    "Memory",
    "apply_then_update",
    "chunk_update",
    "fast_gradient",
    "l2_norm",
    "orthogonalise",
    "row_norms",
    "swiglu",
    "update_then_apply",
    "window_attention",
]
