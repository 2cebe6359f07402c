"""Weights that a training begins with: those of another recogniser, or of a language model.

A decoder is a language model that also listens. Its self-attention, feed-forward blocks, embedding and output can be
those of a language model that has read far more text than there are transcripts; only the cross-attention is new
(Ramachandran et al. 2017, "Unsupervised pretraining for sequence to sequence learning"; for speech Deng et al. 2021,
"Improving hybrid CTC/attention end-to-end speech recognition with pretrained acoustic and language models"). New parts
begin as the identity, so that the decoder starts as the language model that it was, and learns to listen from there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr_tutorial.checkpoint import load_checkpoint
from asr_tutorial.config import InitialiseConfig
from asr_tutorial.decoder import Decoder
from asr_tutorial.errors import CheckpointError, ConfigError
from asr_tutorial.language_model import TransformerLM, load_language_model
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.progressive import make_identity
from asr_tutorial.training.optimizer import Inherited

logger = logging.getLogger("asr_tutorial")


@dataclass
class Transfer:
    """What came of taking weights from another model.

    Attributes:
        source: its folder.
        transferred: names of the parameters and buffers of ours that have its values now.
        new: those that keep the values they had.
        left: what the other model has and ours has no place for: name and reason.
    """

    source: Path
    transferred: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def text(self, named: int = 4) -> str:
        """A line each for what is transferred, new, and left, with the first few names."""
        left = [f"{name} ({reason})" for name, reason in self.left.items()]
        lines = [f"weights of {self.source}"]
        for title, names in (("transferred", self.transferred), ("new", self.new), ("left", left)):
            more = f" and {len(names) - named} more" if len(names) > named else ""
            lines.append(f"  {title} {len(names)}" + (f": {', '.join(names[:named])}{more}" if names else ""))
        return "\n".join(lines)


def from_pretrained_decoder(
    model: SpeechTransformer, lm_folder: str | Path, lr: float = 1.0, rests_until: int = 0
) -> Transfer:
    """Give a recogniser's decoder the weights of a Transformer language model.

    The parameters of both have the same names, ``layers.0.self_attention.q_proj.weight`` and so on. A decoder with
    fewer layers takes the lowest ones; one with more gets layers that begin as the identity. Cross-attention begins
    with an output of zero: its last projection is what learns first.

    What is transferred is marked with :class:`~asr_tutorial.training.optimizer.Inherited`, which an optimiser that is
    made afterwards obeys.

    Args:
        model: is changed.
        lm_folder: of the language model.
        lr: factor on the learning rate of what is transferred.
        rests_until: optimiser step from which on it learns.

    Returns:
        What was transferred, is new, and was left, by the names in ``model``.

    Raises:
        CheckpointError: no language model there.
        ConfigError: an n-gram model, a recogniser without decoder, or models that do not fit each other: the message
            names what differs and the settings that would fit.
    """
    language_model = load_language_model(lm_folder)
    if model.decoder is None:
        raise ConfigError(
            "this recogniser has no decoder that could begin as a language model: set model.decoder_layers"
        )
    if language_model.kind != "transformer":
        raise ConfigError(f"{lm_folder} is an n-gram model: a decoder can begin as a Transformer language model only")
    network = language_model.model
    assert isinstance(network, TransformerLM)
    _check_fit(model.decoder, network, lm_folder)
    transfer = _copy(model.decoder, network.state_dict(), Path(lm_folder), "decoder.")
    depth, theirs = len(model.decoder.layers), len(network.layers)
    for index, layer in enumerate(model.decoder.layers):
        make_identity(layer.get_submodule("cross_attention") if index < theirs else layer)
    if depth < theirs:
        transfer.left = dict.fromkeys(transfer.left, f"model.decoder_layers is {depth}")
    own = dict(model.named_parameters())
    for name in transfer.transferred:
        if name in own:
            own[name].inherited = Inherited(lr, rests_until)  # type: ignore[attr-defined]
    return transfer


def from_checkpoint(model: SpeechTransformer, folder: str | Path) -> Transfer:
    """Give a recogniser the weights of another one, as far as they fit: fine-tuning, or a decoder for a CTC model.

    A tensor is taken if ours has one of the same name and shape, statistics of normalisation included. Layers above the
    other model's depth begin as the identity; what else is new keeps its random values.

    Args:
        model: is changed.
        folder: checkpoint or run folder.

    Raises:
        CheckpointError: no recogniser there, or nothing of it fits.
        ConfigError: the same shapes would mean something else: another number of attention heads.
    """
    other, _, _ = load_checkpoint(folder)
    assert isinstance(other, SpeechTransformer)
    ours, theirs = _heads(model), _heads(other)
    if ours != theirs:
        raise ConfigError(
            f"{folder} has {theirs} attention heads, this model {ours}: give --model.num_heads={theirs}, or begin anew"
        )
    transfer = _copy(model, other.state_dict(), Path(folder), "")
    if not any(name in transfer.transferred for name, _ in model.named_parameters()):
        raise CheckpointError(f"nothing of {folder} fits this model:\n{transfer.text()}")
    for mine, its in ((model.encoder, other.encoder), (model.decoder, other.decoder)):
        if mine is not None and its is not None:
            for layer in mine.layers[len(its.layers) :]:
                make_identity(layer)
    return transfer


def initialise(model: SpeechTransformer, config: InitialiseConfig) -> None:
    """Do what the section ``initialise`` of a configuration says, and log what came of it.

    Raises:
        UserError: as :func:`from_checkpoint` and :func:`from_pretrained_decoder`.
    """
    if config.checkpoint:
        logger.info("%s", from_checkpoint(model, config.checkpoint).text())
    if config.decoder:
        transfer = from_pretrained_decoder(model, config.decoder, config.decoder_lr, config.freeze_decoder_steps)
        logger.info("%s", transfer.text())


@torch.no_grad()
def _copy(module: nn.Module, values: Mapping[str, Tensor], source: Path, prefix: str) -> Transfer:
    """Copy what has the same name and shape; names of the report begin with ``prefix``."""
    own = module.state_dict()
    transfer = Transfer(source)
    for name, tensor in own.items():
        if name in values and values[name].shape == tensor.shape:
            tensor.copy_(values[name])
            transfer.transferred.append(prefix + name)
        else:
            transfer.new.append(prefix + name)
    for name, value in values.items():
        if name not in own:
            transfer.left[prefix + name] = "no such parameter"
        elif own[name].shape != value.shape:
            transfer.left[prefix + name] = f"its shape is {tuple(value.shape)}, here {tuple(own[name].shape)}"
    return transfer


def _heads(model: SpeechTransformer) -> int:
    return model.encoder.layers[0].self_attention.num_heads  # type: ignore[union-attr, return-value]


def _check_fit(decoder: Decoder, network: TransformerLM, folder: str | Path) -> None:
    """Compare what must be equal, by the settings that decide it."""
    own, values = decoder.state_dict(), network.state_dict()
    vocabularies = [weights["embedding.weight"].shape[0] for weights in (values, own)]
    if vocabularies[0] != vocabularies[1]:
        raise ConfigError(
            f"the language model in {folder} has {vocabularies[0]} tokens, the recogniser {vocabularies[1]}: give both "
            f"the same vocabulary, --tokenizer.folder={folder}"
        )
    pair: tuple[Any, Any] = (network, decoder)
    settings = {
        "d_model": [part.embedding.embedding_dim for part in pair],
        "d_ff": [part.layers[0].feed_forward.linear1.out_features for part in pair],
        "num_heads": [part.layers[0].self_attention.num_heads for part in pair],
        "positional": [type(part.positional).__name__ for part in pair],
    }
    different = {name: values for name, values in settings.items() if values[0] != values[1]}
    if different:
        said = ", ".join(f"{name} is {theirs} there and {ours} here" for name, (theirs, ours) in different.items())
        remedy = " ".join(f"--model.{name}={theirs}" for name, (theirs, _) in different.items() if name != "positional")
        raise ConfigError(
            f"the decoder cannot begin as the language model in {folder}: {said}. Give {remedy or 'model.positional'} "
            "to match it, or train a language model of the decoder's size"
        )
    wrong = [
        f"decoder.{name} is {tuple(values[name].shape)} there and {tuple(tensor.shape)} here"
        for name, tensor in own.items()
        if name in values and values[name].shape != tensor.shape
    ]
    if wrong:
        raise ConfigError(f"the decoder cannot begin as the language model in {folder}: {'; '.join(wrong[:3])}")
