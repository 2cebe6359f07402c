"""Connectionist temporal classification (Graves et al. 2006): loss, best path and forced alignment.

CTC lets every frame say a token or *blank*. A path says a transcript when repeats are merged and blanks are dropped:
``h h _ e _ l l _ l o`` says "hello". The loss sums over all paths of a transcript; the alignment is the best of them.
"""

from asr_tutorial.ctc.align import Alignment, forced_align, frame_posteriors, path_posteriors, token_spans, viterbi
from asr_tutorial.ctc.beam import CTCHypothesis, prefix_beam_search, word_level
from asr_tutorial.ctc.best_path import best_path, collapse
from asr_tutorial.ctc.loss import ctc_loss, training_loss
from asr_tutorial.ctc.prefix_score import PrefixScorer

__all__ = [
    "Alignment",
    "CTCHypothesis",
    "PrefixScorer",
    "best_path",
    "collapse",
    "ctc_loss",
    "forced_align",
    "frame_posteriors",
    "path_posteriors",
    "prefix_beam_search",
    "token_spans",
    "training_loss",
    "viterbi",
    "word_level",
]
