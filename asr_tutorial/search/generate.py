"""Text out of a language model: one token after the other, each drawn from what the model says comes next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asr_tutorial.errors import ConfigError
from asr_tutorial.language_model import TransformerLM
from asr_tutorial.modes import evaluating
from asr_tutorial.search.choice import next_token_log_probs
from asr_tutorial.search.greedy import write
from asr_tutorial.search.hypothesis import check_temperature


def generate(
    model: TransformerLM,
    prompts: Tensor,
    eos: int,
    max_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    forbidden: Sequence[int] = (),
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Go on with texts until each has ended. Keys and values of what has been read are kept, not computed again.

    Args:
        model: on any device; its train or eval mode is left as found.
        prompts: (n, length) ids, SOS first.
        eos: id that ends a text.
        max_tokens: most tokens to add to each.
        temperature: what logits are divided by; 0 takes the most probable token.
        top_k: draw from the so many most probable tokens only; 0: all.
        top_p: draw from the most probable tokens that hold this share of the probability.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        generator: of the model's device; with the same seed the same texts are drawn.

    Returns:
        The new tokens of each text, without EOS.

    Raises:
        ConfigError: a setting outside its range.
    """
    if temperature != 0:
        check_temperature(temperature)
    if top_k < 0 or not 0 < top_p <= 1 or max_tokens < 1:
        raise ConfigError(
            f"top_k must be 0 (all) or more, top_p above 0 and up to 1, and max_tokens 1 or more, got {top_k}, {top_p} "
            f"and {max_tokens}"
        )
    room = model.config.max_length - prompts.shape[1]
    if max_tokens > room:
        raise ConfigError(
            f"the model has {model.config.max_length} positions, and the prompt takes {prompts.shape[1]}: max_tokens "
            f"must be {room} at most, not {max_tokens}"
        )
    device = next(model.parameters()).device
    prompts = prompts.to(device)
    cache = model.new_cache()
    banned = torch.tensor([*forbidden], dtype=torch.long, device=device)

    def step(prefixes: Tensor) -> Tensor:
        logits = model(prefixes[:, cache.length :], cache)[:, -1].float()  # only what the cache has not seen
        return logits.index_fill(1, banned, float("-inf")).log_softmax(dim=-1)

    def choose(log_probs: Tensor) -> Tensor:
        if temperature == 0:
            return log_probs.argmax(dim=-1)
        probs = next_token_log_probs(log_probs, temperature, top_k, top_p).exp()
        return torch.multinomial(probs, 1, generator=generator)[:, 0]

    with evaluating(model):
        limits = torch.full((len(prompts),), max_tokens, device=device)
        tokens, _, ended = write(step, prompts, limits, eos, choose)
    return [row[: row.index(eos)] if end else row for row, end in zip(tokens.tolist(), ended.tolist(), strict=True)]
