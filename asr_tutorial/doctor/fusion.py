"""A language model beside the recogniser: its scores must be log-probabilities, and be added as such."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from asr_tutorial.config import LanguageModelArchitecture
from asr_tutorial.ctc.beam import prefix_log_probs
from asr_tutorial.doctor.case import Case
from asr_tutorial.doctor.report import Finding
from asr_tutorial.language_model import TransformerLM
from asr_tutorial.search import TokenModel
from asr_tutorial.search.fusion import Fusion, shallow_fusion
from asr_tutorial.tokenizer import Tokenizer

TOLERANCE = 0.01
"""How far a sum of probabilities may be from 1."""
TOKENS = 6
"""Of a text that are followed."""


def small_language_model(tokenizer: Tokenizer) -> TokenModel:
    """A Transformer with random weights, for the code that asks it: whether that is right does not depend on them."""
    torch.manual_seed(0)
    config = LanguageModelArchitecture(d_model=16, num_heads=2, d_ff=32, layers=1)
    return TokenModel(TransformerLM(config, tokenizer.vocab_size).eval(), tokenizer)


def language_model(case: Case) -> Iterator[Finding]:
    """Both ways in which searches ask a language model, step by step, and its score of a whole text."""
    model = case.language_model or small_language_model(case.tokenizer)
    tokens = case.data.train.dataset.tokens[0][:TOKENS]
    with torch.no_grad():
        scorer = model.scorer(1, 1, torch.device("cpu"))
        rows = []
        for token in tokens:
            rows.append(scorer.log_probs()[0, 0])
            scorer.follow(torch.zeros(1, 1, dtype=torch.long), torch.tensor([[token]]))
        prefixes = [tuple(tokens[:length]) for length in range(len(tokens))]
        table = torch.from_numpy(
            np.asarray(prefix_log_probs(model.of_prefixes(), prefixes, case.tokenizer.vocab_size), dtype=np.float64)
        )
    ways = {"a beam search": torch.stack(rows).double(), "CTC's prefix search": table}
    for asker, scores in ways.items():
        sums = scores.logsumexp(dim=-1).exp()
        # A model of words leaves something to words that it does not know: less than 1, never more.
        low = TOLERANCE if model.transformer is not None else 1.0
        if not bool(((sums < 1 + TOLERANCE) & (sums > 1 - low)).all()):
            yield Finding(
                "lm_raw_logits",
                f"asked by {asker}, the probabilities of the next token sum to {float(sums.min()):.3g} ... "
                f"{float(sums.max()):.3g}, not to 1",
            )
            return
    difference = float((ways["a beam search"] - table).nan_to_num(0, 0, 0).abs().max())
    if difference > TOLERANCE:
        yield Finding(
            "fusion_differs", f"the two searches get scores of the language model {difference:.2g} nats apart"
        )


def fusion(case: Case) -> Iterator[Finding]:
    """What a search adds up: the recogniser's score, weight times the language model's, a bonus but for EOS."""
    vocab, eos = case.tokenizer.vocab_size, case.tokenizer.eos_id
    random = torch.Generator().manual_seed(1)
    scores, added = ((3 * torch.randn(2, 3, vocab, generator=random)).log_softmax(dim=-1) for _ in range(2))

    class Fixed:
        def log_probs(self) -> torch.Tensor:
            return added

        def follow(self, parents: torch.Tensor, tokens: torch.Tensor) -> None: ...

        def select(self, rows: torch.Tensor) -> None: ...

    expected = scores + 0.6 * added + 0.5
    expected[..., eos] -= 0.5
    for name, found in {
        "shallow_fusion": shallow_fusion(scores, added, 0.6, 0.5, eos),
        "a search": Fusion(Fixed(), 0.6, 0.5, eos).add(scores),
    }.items():
        difference = float((found - expected).abs().max())
        if not difference < 1e-3:
            yield Finding("fusion_differs", f"{name} is off by up to {difference:.3g} nats for a token")
            return
