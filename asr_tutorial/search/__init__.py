"""Search: from a model's probabilities to token sequences.

The order in which to read: ``hypothesis`` (what a search finds, and how it is scored), ``choice`` (one distribution),
``greedy`` (one hypothesis: greedy search and sampling), ``beam`` (many hypotheses), ``scorers`` (who scores them:
a function, the decoder, the CTC head, a language model), ``fusion`` (how a language model has a say), ``token_model``
(a language model in the form that searches ask it), ``joint`` (beam search with a model), ``rescore`` (an n-best list
put in another order), ``parallel`` (a decoder that writes all tokens at once).
"""

from asr_tutorial.search.beam import beam_search
from asr_tutorial.search.choice import next_token_log_probs, penalise_repeats
from asr_tutorial.search.fusion import shallow_fusion
from asr_tutorial.search.greedy import greedy_search, sample_search, write
from asr_tutorial.search.hypothesis import Hypothesis, SearchOptions, best_possible, length_normalised
from asr_tutorial.search.joint import joint_search
from asr_tutorial.search.parallel import parallel_search
from asr_tutorial.search.rescore import Candidate, rescore
from asr_tutorial.search.token_model import TokenModel

__all__ = [
    "Candidate",
    "Hypothesis",
    "SearchOptions",
    "TokenModel",
    "beam_search",
    "best_possible",
    "greedy_search",
    "joint_search",
    "length_normalised",
    "next_token_log_probs",
    "parallel_search",
    "penalise_repeats",
    "rescore",
    "sample_search",
    "shallow_fusion",
    "write",
]
