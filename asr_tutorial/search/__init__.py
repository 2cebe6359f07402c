"""Search: from a model's probabilities to token sequences.

The order in which to read: ``hypothesis`` (what a search finds, and how it is scored), ``choice`` (one distribution),
``greedy`` (one hypothesis: greedy search and sampling), ``beam`` (many hypotheses), ``scorers`` (who scores them:
a function, the decoder, the CTC head), ``joint`` (beam search with a model).
"""

from asr_tutorial.search.beam import beam_search
from asr_tutorial.search.choice import next_token_log_probs, penalise_repeats
from asr_tutorial.search.greedy import greedy_search, sample_search, write
from asr_tutorial.search.hypothesis import Hypothesis, SearchOptions, best_possible, length_normalised
from asr_tutorial.search.joint import joint_search

__all__ = [
    "Hypothesis",
    "SearchOptions",
    "beam_search",
    "best_possible",
    "greedy_search",
    "joint_search",
    "length_normalised",
    "next_token_log_probs",
    "penalise_repeats",
    "sample_search",
    "write",
]
