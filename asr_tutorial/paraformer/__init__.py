"""Paraformer: all tokens in one pass (Gao et al. 2022, "Paraformer: fast and accurate parallel Transformer").

A decoder that writes token by token runs once for each token. Paraformer runs it once. For that it has to know before
it writes how many tokens there are, and what each of them is about:

- the **predictor** gives each encoder frame a weight, its share of a token (``Predictor`` in ``model``);
- **integrate-and-fire** adds the weights up, and whenever they reach 1 a token is complete: its embedding is the
  weighted sum of the frames that made it up (``cif``);
- the **decoder** sees the embeddings of all tokens at once, each of which may look at all others and at the sound, and
  names every token at the same time;
- the **glancing sampler** shows it, in training, some of the true tokens among the acoustic ones, so that it learns how
  tokens depend on each other (Qian et al. 2021).

The order in which to read: ``cif``, ``model``. How to search with it is in :mod:`asr_tutorial.search.parallel`.
"""

from asr_tutorial.paraformer.cif import (
    alignment_loss,
    cif,
    cif_loop,
    ctc_alphas,
    fire_times,
    quantity_loss,
    scale_alphas,
    token_counts,
)
from asr_tutorial.paraformer.model import Paraformer, ParallelDecoder, Predictor, glance

__all__ = [
    "Paraformer",
    "ParallelDecoder",
    "Predictor",
    "alignment_loss",
    "cif",
    "cif_loop",
    "ctc_alphas",
    "fire_times",
    "glance",
    "quantity_loss",
    "scale_alphas",
    "token_counts",
]
