"""Scheduled sampling: in training the decoder reads some of its own guesses, as it will have to in a search.

Under teacher forcing a decoder always reads the true text, and never learns what to do after a mistake. Bengio et al.
2015 ("Scheduled sampling") replace a growing share of what it reads by its own guesses. A Transformer reads all
positions at once, so its guesses come from a first pass over the true text (Mihaylova and Martins 2019, "Scheduled
sampling for Transformers").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def falling_share(epoch: float, first: float, last: float, final: float) -> float:
    """Share of teacher forcing: 1 up to epoch ``first``, ``final`` from epoch ``last`` on, evenly falling between."""
    if epoch >= last:
        return final
    return 1.0 if epoch <= first else 1.0 - (1.0 - final) * (epoch - first) / (last - first)


def mix_guesses(tokens_in: Tensor, logits: Tensor, share: float | Tensor, pad: int, special: Sequence[int]) -> Tensor:
    """Replace true tokens of the decoder's input by the decoder's own guesses, position by position.

    The guess for a position is the most probable token after the position *before* it, ``logits[:, u - 1]`` for input
    position ``u``, special tokens left out: in a search the decoder never reads one. SOS and PAD stay.

    Args:
        tokens_in: (batch, length) ids, SOS first, PAD behind the text.
        logits: (batch, length, vocab) of the token after each position, as the decoder gives them.
        share: probability that a position keeps its true token, a number or a tensor of shape (); each position is
            drawn by itself.
        pad: id of PAD.
        special: ids that are never a guess.

    Returns:
        (batch, length) ids.
    """
    logits = logits.index_fill(-1, torch.tensor(special, device=logits.device), -torch.inf)
    guesses = logits[:, :-1].argmax(dim=-1)  # (batch, length - 1)
    text = tokens_in[:, 1:]
    replaced = (torch.rand(text.shape, device=text.device) >= share) & (text != pad)
    return torch.cat([tokens_in[:, :1], torch.where(replaced, guesses, text)], dim=1)


class ScheduledSampling:
    """Lets a decoder read a mixture of the true text and its own guesses, in training mode only.

    It hooks itself in before the decoder, so that the model's own forward pass is the one that runs, and the encoder
    runs once: the first pass of the decoder is made without gradient on the encoder's output that the second one uses.

    Attributes:
        active: False while every token is a true one; nothing is computed twice then.
        share: (), the share of true tokens; a tensor, since a number that changes would make torch.compile
            start again.

    Args:
        decoder: called as ``decoder(tokens, encoder_out, encoder_mask, ...)``, gives logits and attention maps.
        pad: id of PAD.
        special: ids that are never a guess.
    """

    def __init__(self, decoder: nn.Module, pad: int, special: Sequence[int]) -> None:
        self.pad = pad
        self.special = list(special)
        self.active = False
        self.share = torch.ones(())
        decoder.register_forward_pre_hook(self._mix, with_kwargs=True)

    def set(self, share: float) -> None:
        """Set the share of true tokens, 0 to 1."""
        self.active = share < 1
        self.share.fill_(share)

    def _mix(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not decoder.training or not self.active:
            return None
        tokens_in = args[0] if args else kwargs["tokens"]
        device = tokens_in.device.type
        # Without autocast's cache: weights that it casts here would have no gradient in the second pass either.
        autocast = torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False
        )
        with torch.no_grad(), autocast:
            logits, _ = decoder.forward(*args, **kwargs)  # forward: a call would come back to this hook
        mixed = mix_guesses(tokens_in, logits.float(), self.share, self.pad, self.special)
        return ((mixed, *args[1:]), kwargs) if args else (args, {**kwargs, "tokens": mixed})
