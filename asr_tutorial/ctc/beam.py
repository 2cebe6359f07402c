"""Prefix beam search: the transcript whose paths are most probable *together*.

The best path is one path, and another transcript may have more in sum. Prefix beam search walks through the frames
with a few beginnings of transcripts, the *prefixes*, and adds up the paths of each that it meets (Graves 2008, section
7.5.3; Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using bi-directional recurrent
DNNs", algorithm 1).

Read :func:`prefix_step` first: one frame for all prefixes at once. The arrays are small, a beam by a few tokens, which
is where NumPy is quicker than PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr_tutorial.errors import ConfigError
from asr_tutorial.tokenizer import SPACE, Tokenizer

Array: TypeAlias = NDArray[Any]
Prefix: TypeAlias = tuple[int, ...]
LanguageModel: TypeAlias = Callable[[list[Prefix]], ArrayLike]
"""Prefixes (n of them) to log-probabilities (n, vocab) of the token that comes next."""

NEVER = -math.inf


@dataclass(frozen=True)
class CTCHypothesis:
    """A transcript that prefix beam search found.

    Attributes:
        tokens: ids without blank.
        score: what the search ranks by, ``log_prob + lm_score``.
        log_prob: log-probability of the transcript, over the paths that the beam kept: at most minus the CTC loss.
        lm_score: weighted log-probability of the language model and the token bonus; 0 without either.
    """

    tokens: list[int]
    score: float
    log_prob: float
    lm_score: float = 0.0


def prefix_step(
    log_probs: Array, blank_end: Array, token_end: Array, last: Array, parent: Array, tokens: Array, blank: int
) -> tuple[Array, Array, Array]:
    """Read one frame for every prefix of the beam.

    The paths that say a prefix are counted apart by what they end in, because the next frame treats them differently:
    the prefix's last token once more means nothing new behind itself, and a second such token behind a blank.

    Args:
        log_probs: (vocab,) of this frame.
        blank_end: (n,) log-probability of all paths so far that say the prefix and end in a blank.
        token_end: (n,) the same for paths that end in the prefix's last token; minus infinity for the empty prefix.
        last: (n,) last token of each prefix, -1 for the empty one.
        parent: (n,) where in the beam the prefix without its last token stands, -1 if it is not there.
        tokens: (k,) by which prefixes may grow; blank is not among them.
        blank: id of the blank.

    Returns:
        ``blank_end`` and ``token_end`` (n,) of the same prefixes after this frame, and (n, k): log-probability of the
        paths that say prefix and token, the token beginning in this frame. Where that longer prefix is in the beam
        already, its paths are in its own ``token_end``, and minus infinity stands here.
    """
    either = np.logaddexp(blank_end, token_end)  # (n,)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]  # the empty prefix has no last token: minus infinity stays what it is

    repeated = last[:, None] == tokens  # (n, k)
    grown = np.where(repeated, blank_end[:, None], either[:, None]) + log_probs[tokens]

    children = np.flatnonzero(parent >= 0)
    parents, ending = parent[children], last[children]
    before = np.where(last[parents] == ending, blank_end[parents], either[parents])
    stay_token[children] = np.logaddexp(stay_token[children], before + log_probs[ending])
    child, column = np.nonzero(ending[:, None] == tokens)
    grown[parents[child], column] = NEVER
    return stay_blank, stay_token, grown


def prefix_beam_search(
    log_probs: Tensor,
    lengths: Tensor,
    blank: int,
    beam_size: int = 10,
    n_best: int = 1,
    lm: LanguageModel | None = None,
    lm_weight: float = 0.5,
    token_bonus: float = 0.0,
    eos: int | None = None,
    min_prob: float = 1e-4,
) -> list[list[CTCHypothesis]]:
    """The most probable transcripts of each utterance.

    With a language model a transcript is ranked by ``log p_ctc + lm_weight * log p_lm + token_bonus * tokens``
    (shallow fusion); the bonus makes up for a language model's liking for short texts.

    Args:
        log_probs: (batch, time, vocab), log-softmax output on any device.
        lengths: (batch,) real frames.
        blank: id of the blank.
        beam_size: prefixes kept after each frame.
        n_best: transcripts wanted for each utterance; fewer come back where fewer are possible.
        lm: log-probabilities (n, vocab) of the next token for n prefixes, tuples of ids. It is asked once for each
            prefix that enters the beam, for all that are new in a frame together. :func:`word_level` makes one of a
            model of words.
        lm_weight: of the language model.
        token_bonus: nats for each token of the transcript.
        eos: the column of ``lm`` that holds the end of the text; None: it has none.
        min_prob: a prefix does not grow by a token that is less probable than this in a frame; 0 tries all.

    Returns:
        For each utterance its hypotheses, the best first.

    Raises:
        ConfigError: ``beam_size`` below 1, ``n_best`` outside 1 to ``beam_size``, ``min_prob`` outside 0 to 1, blank
            outside the vocabulary, or a language model that answers with another shape than (n, vocab).
    """
    _check_settings(beam_size, n_best, min_prob, blank, log_probs.shape[-1])
    frames = log_probs.detach().double().cpu().numpy()  # (batch, time, vocab)
    beams = []
    for utterance, length in zip(frames, lengths.tolist(), strict=True):
        fusion = _Fusion(lm, lm_weight, token_bonus, eos, utterance.shape[-1])
        beams.append(_search(utterance[:length], blank, beam_size, fusion, min_prob)[:n_best])
    return beams


def _search(frames: Array, blank: int, beam_size: int, fusion: _Fusion, min_prob: float) -> list[CTCHypothesis]:
    """The beam after all frames (time, vocab) of an utterance, best first."""
    worth_trying = frames >= (math.log(min_prob) if min_prob > 0 else NEVER)
    worth_trying[:, blank] = False
    tree = _PrefixTree()
    nodes = [0]  # the prefixes of the beam: at first the empty one, which has been said with certainty
    blank_end, token_end = np.zeros(1), np.full(1, NEVER)
    last, parent = np.full(1, -1), np.full(1, -1)
    for log_probs, tried in zip(frames, worth_trying, strict=True):
        tokens = np.flatnonzero(tried)
        stay_blank, stay_token, grown = prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank)
        if not len(tokens):  # nothing grows, and nothing is crowded out: the same prefixes, with new probabilities
            blank_end, token_end = stay_blank, stay_token
            continue
        old = np.logaddexp(stay_blank, stay_token)
        n, k = grown.shape
        if fusion.needed:
            fusion.extend(tree, nodes)
            totals, rows = fusion.of(nodes)  # (n,), (n, vocab)
            ranks = np.concatenate([old + totals, (grown + totals[:, None] + rows[:, tokens]).ravel()])
        else:
            ranks = np.concatenate([old, grown.ravel()])
        best = _largest(ranks, beam_size)

        # The survivors: prefixes as they were first, then those that have grown.
        stays, grows = best[best < n], best[best >= n] - n
        rows_of, columns = np.divmod(grows, max(k, 1))
        chosen = tokens[columns]
        blank_end = np.concatenate([stay_blank[stays], np.full(len(grows), NEVER)])
        token_end = np.concatenate([stay_token[stays], grown.ravel()[grows]])
        last = np.concatenate([last[stays], chosen])
        nodes = [nodes[row] for row in stays.tolist()] + [
            tree.child(nodes[row], token) for row, token in zip(rows_of.tolist(), chosen.tolist(), strict=True)
        ]
        place = {node: position for position, node in enumerate(nodes)}
        parent = np.array([place.get(tree.parents[node], -1) for node in nodes])

    log_prob = np.logaddexp(blank_end, token_end)
    lm_scores = fusion.final(tree, nodes)
    order = _largest(log_prob + lm_scores, len(nodes))
    return [
        CTCHypothesis(
            list(tree.prefix(nodes[i])), float(log_prob[i] + lm_scores[i]), float(log_prob[i]), float(lm_scores[i])
        )
        for i in order.tolist()
    ]


def _largest(values: Array, count: int) -> Array:
    """Places of the ``count`` largest values that are possible at all, the largest first, equal ones in order."""
    places = np.arange(len(values))
    if len(values) > count:
        places = np.sort(np.argpartition(values, -count)[-count:])
    places = places[np.argsort(-values[places], kind="stable")]
    possible = places[values[places] > NEVER]
    return possible if len(possible) else places[:1]


def prefix_log_probs(lm: LanguageModel, prefixes: list[Prefix], vocab: int) -> Array:
    """What a language model says of some prefixes, (n, vocab) in float64.

    Raises:
        ConfigError: it answers with another shape.
    """
    answer: Any = lm(prefixes)
    answer = np.asarray(answer.detach().cpu() if isinstance(answer, Tensor) else answer, dtype=np.float64)
    if answer.shape != (len(prefixes), vocab):
        raise ConfigError(
            f"the language model gave shape {answer.shape} for {len(prefixes)} prefixes: it must give (prefixes, "
            f"vocab) = {(len(prefixes), vocab)}, a log-probability for each token of the recogniser's vocabulary"
        )
    return answer


class _PrefixTree:
    """All prefixes met so far; each is a node that knows its parent and its last token. Node 0 is the empty one."""

    def __init__(self) -> None:
        self.parents, self.tokens = [-1], [-1]
        self._children: dict[tuple[int, int], int] = {}

    def child(self, node: int, token: int) -> int:
        """The node of a prefix one token longer; the same one each time."""
        found = self._children.setdefault((node, token), len(self.parents))
        if found == len(self.parents):
            self.parents.append(node)
            self.tokens.append(token)
        return found

    def prefix(self, node: int) -> Prefix:
        tokens = []
        while node > 0:
            tokens.append(self.tokens[node])
            node = self.parents[node]
        return tuple(reversed(tokens))


class _Fusion:
    """What language model and bonus add to each prefix of a tree, asked for once and kept."""

    def __init__(self, lm: LanguageModel | None, weight: float, bonus: float, eos: int | None, vocab: int) -> None:
        # A weight of 0 is no language model: 0 times minus infinity would be no number.
        self.lm = lm if weight else None
        self.weight, self.bonus, self.eos, self.vocab = weight, bonus, eos, vocab
        self.needed = self.lm is not None or bonus != 0
        self._rows: dict[int, Array] = {}
        self._totals: dict[int, float] = {}

    def extend(self, tree: _PrefixTree, nodes: Sequence[int]) -> None:
        """Score what may follow those prefixes that are new. Their parents have been scored before."""
        new = [node for node in nodes if node not in self._rows]
        if not new:
            return
        rows = np.full((len(new), self.vocab), float(self.bonus))
        if self.lm is not None:
            rows += self.weight * prefix_log_probs(self.lm, [tree.prefix(node) for node in new], self.vocab)
        for node, row in zip(new, rows, strict=True):
            parent = tree.parents[node]
            self._rows[node] = row
            self._totals[node] = self._totals[parent] + float(self._rows[parent][tree.tokens[node]]) if node else 0.0

    def of(self, nodes: Sequence[int]) -> tuple[Array, Array]:
        """Totals (n,) of prefixes and what each next token would add to them (n, vocab)."""
        return np.array([self._totals[node] for node in nodes]), np.stack([self._rows[node] for node in nodes])

    def final(self, tree: _PrefixTree, nodes: Sequence[int]) -> Array:
        """Totals (n,) of prefixes as whole texts, the end of the text included where the model has one."""
        if not self.needed:
            return np.zeros(len(nodes))
        self.extend(tree, nodes)
        totals, rows = self.of(nodes)
        if self.lm is None or self.eos is None:
            return totals
        return totals + rows[:, self.eos] - self.bonus  # the end is no token that deserves the bonus


def word_level(score: Callable[[tuple[str, ...], str], float], tokenizer: Tokenizer) -> LanguageModel:
    """A language model of tokens made of one of words: a word is scored when it is complete.

    That is when a token begins the next word, or in column ``eos_id`` at the end of the text, which is why a search
    should be given ``eos=tokenizer.eos_id``. Within a word every token costs nothing.

    Args:
        score: log-probability of a word after the words before it.
        tokenizer: characters, or pieces of words that begin with a mark.
    """
    begins_word = [i for i in range(tokenizer.vocab_size) if tokenizer.id_to_token(i).startswith(SPACE)]

    def token_scores(prefixes: list[Prefix]) -> Array:
        rows = np.zeros((len(prefixes), tokenizer.vocab_size))
        for row, prefix in zip(rows, prefixes, strict=True):
            # In a vocabulary of characters a space ends a word, and a second space ends nothing.
            if prefix and tokenizer.id_to_token(prefix[-1]) != SPACE:
                *history, word = tokenizer.decode(prefix).split() or [""]
                row[[*begins_word, tokenizer.eos_id]] = score(tuple(history), word) if word else 0.0
        return rows

    return token_scores


def _check_settings(beam_size: int, n_best: int, min_prob: float, blank: int, vocab: int) -> None:
    if beam_size < 1:
        raise ConfigError(f"beam_size must be at least 1, not {beam_size}")
    if not 1 <= n_best <= beam_size:
        raise ConfigError(f"n_best must be 1 to beam_size ({beam_size}), not {n_best}: raise beam_size for more")
    if not 0 <= min_prob < 1:
        raise ConfigError(f"min_prob is a probability from 0 up to, but not including, 1, not {min_prob}")
    if not 0 <= blank < vocab:
        raise ConfigError(f"blank must be one of the {vocab} tokens, 0 to {vocab - 1}, not {blank}")
