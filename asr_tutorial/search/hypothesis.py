"""What a search finds, how it is scored, and when a better one can no longer come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from asr_tutorial.errors import ConfigError


@dataclass
class Hypothesis:
    """A token sequence that a search found.

    Attributes:
        tokens: ids without what the search was given to start from and without EOS.
        score: what the search ranks by: ``log_prob + lm_score`` in nats, the EOS included, divided for its length and
            less the coverage penalty where these are asked for.
        finished: False when the search ran into its length limit before EOS.
        log_prob: the log-probability alone; in a joint search the weighted sum of those of both heads.
        token_log_probs: its share for each token; the EOS has the rest.
        lm_score: weighted log-probability of the language model and the token bonus; 0 without either.
    """

    tokens: list[int]
    score: float
    finished: bool
    log_prob: float = 0.0
    token_log_probs: list[float] = field(default_factory=list)
    lm_score: float = 0.0

    @property
    def confidences(self) -> list[float]:
        """For each token the probability that it was given after those before it, by what was heard; 1 is certain."""
        return [math.exp(log_prob) for log_prob in self.token_log_probs]


@dataclass(frozen=True)
class SearchOptions:
    """How a beam search with a model searches.

    Attributes:
        beam_size: hypotheses kept for each utterance.
        n_best: hypotheses returned for each utterance, at most ``beam_size``.
        ctc_weight: share of the CTC score; 0 is the decoder alone.
        temperature: what the decoder's logits are divided by: above 1 its distributions are flatter.
        repeat_penalty: factor on the log-probabilities of tokens that a hypothesis holds already; 1 is none.
        length_penalty: the log-probability is divided by ``tokens ** length_penalty``: 0 is none, 1 is the mean.
        coverage_penalty: nats taken off for each encoder frame that no token has listened to; 0 is none.
        max_length: most tokens of a hypothesis; an utterance's number of encoder frames when not given.
        lm_weight: of the language model, where there is one, beside 1 for the recogniser; 0 leaves it out.
        token_bonus: nats for each token; it makes up for a language model's liking for short texts.

    Raises:
        ConfigError: a value outside its range.
    """

    beam_size: int = 10
    n_best: int = 1
    ctc_weight: float = 0.3
    temperature: float = 1.0
    repeat_penalty: float = 1.0
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0
    max_length: int | None = None
    lm_weight: float = 0.5
    token_bonus: float = 0.0

    def __post_init__(self) -> None:
        _check("beam_size", self.beam_size, self.beam_size >= 1, "1 or more")
        _check(
            "n_best",
            self.n_best,
            1 <= self.n_best <= self.beam_size,
            f"1 to beam_size, {self.beam_size}; a wider beam finds more",
        )
        _check("ctc_weight", self.ctc_weight, 0 <= self.ctc_weight <= 1, "0 (the decoder alone) to 1 (CTC alone)")
        check_temperature(self.temperature)
        _check("repeat_penalty", self.repeat_penalty, 0 < self.repeat_penalty < math.inf, "above 0; 1 is none")
        _check("length_penalty", self.length_penalty, math.isfinite(self.length_penalty), "finite; 0 is none")
        _check("coverage_penalty", self.coverage_penalty, 0 <= self.coverage_penalty < math.inf, "0 (none) or more")
        _check("max_length", self.max_length, self.max_length is None or self.max_length >= 0, "0 or more")
        _check("lm_weight", self.lm_weight, 0 <= self.lm_weight < math.inf, "0 (no language model) or more")
        _check("token_bonus", self.token_bonus, math.isfinite(self.token_bonus), "finite; 0 is none")


def check_temperature(temperature: float) -> None:
    """Raise ConfigError unless a temperature is above 0 and finite."""
    _check("temperature", temperature, 0 < temperature < math.inf, "above 0; 1 leaves the model as it is")


def length_normalised(log_prob: Tensor, length: Tensor | int, length_penalty: float) -> Tensor:
    """Make scores of texts of different lengths comparable: ``log_prob / length ** length_penalty``.

    Every token makes a text less probable, so that a sum of log-probabilities favours short texts. An exponent of 1
    compares the mean of a token, 0 the sum, and what lies between is a compromise (Wu et al. 2016, section 7, where
    the denominator is ``((5 + length) / 6) ** length_penalty``).

    Args:
        log_prob: of whole texts, EOS included; any shape.
        length: number of tokens that were scored, EOS included, so 1 at least; broadcastable to ``log_prob``.
        length_penalty: the exponent.

    Returns:
        The scores, in the shape of ``log_prob``.
    """
    return log_prob / length**length_penalty


def best_possible(log_prob: Tensor, length: int, limit: Tensor | int, length_penalty: float) -> Tensor:
    """A score that no continuation of an unfinished hypothesis can exceed: when to stop a search.

    A hypothesis of ``length`` tokens ends with ``length + 1`` scored tokens at least (EOS now), ``limit + 1`` at most.
    On the way its log-probability, which is not above 0, can only fall, for each further token adds the logarithm of a
    probability. So the best that can happen is that the rest costs nothing, and that the sum is divided by the length
    that is best for a negative number: the longest one if the exponent is positive.

    To compare a finished score with the *present* score of the others, as is often done, is right for an exponent of
    0 only: a hypothesis that is behind may still catch up by its length.

    Args:
        log_prob: of unfinished hypotheses, not above 0; any shape.
        length: their number of tokens.
        limit: most tokens that a hypothesis may have, EOS not counted; broadcastable to ``log_prob``.
        length_penalty: exponent of :func:`length_normalised`.

    Returns:
        An upper bound of the final scores, in the shape of ``log_prob``.
    """
    longest, shortest = limit + 1, length + 1
    return length_normalised(log_prob, longest if length_penalty > 0 else shortest, length_penalty)


def _check(name: str, value: object, allowed: bool, values: str) -> None:
    if not allowed:
        raise ConfigError(f"{name} must be {values}; got {value}")
