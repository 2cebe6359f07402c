"""Progressive training: a model that grows while it is trained.

A training in stages begins with few layers, which are quick and easy to train, and ends with all of them. A stage also
says how strong dropout, label smoothing and SpecAugment are, which share of the data is used, which parameters rest,
and how much of what the decoder reads is true. New layers begin as the identity, so that growing changes nothing that
the model computes (Chen et al. 2016, "Net2Net"): what it has learnt is kept, and the loss goes on from where it was.

In the order in which to read: :func:`plan_stages` makes a list of stages of a configuration, :func:`make_identity` and
:func:`grow_stack` make a model deeper, :func:`set_dropout`, :func:`freeze` and :func:`choose_utterances` apply what a
stage says, :func:`plateau` and :func:`is_over` end it. :mod:`asr_tutorial.training.stages` does all of this in a run.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.config import Config, ModelConfig, ProgressiveConfig, StageConfig
from asr_tutorial.dropout import Dropout
from asr_tutorial.encoder import ConvModule, FeedForward
from asr_tutorial.errors import ConfigError
from asr_tutorial.model import SpeechTransformer

Place: TypeAlias = Literal["top", "between"]

OUTPUTS: dict[type[nn.Module], str] = {MultiHeadAttention: "out_proj", FeedForward: "linear2", ConvModule: "project"}
"""The last linear layer of each kind of sublayer: what it gives is added to the residual stream."""


# ------------------------------------------------------------------------------------------------ the plan


@dataclass(frozen=True)
class Stage:
    """One stage with every setting filled in; :class:`~asr_tutorial.config.StageConfig` says what each one is.

    ``freeze`` is empty where everything learns; ``teacher_forcing`` None: as the whole training has it.
    """

    encoder_layers: int
    decoder_layers: int
    dropout: float
    attention_dropout: float
    label_smoothing: float
    spec_augment: float = 1.0
    data: float = 1.0
    order: str = "random"
    freeze: Sequence[str] = ()
    teacher_forcing: float | None = None
    steps: int = 0
    epochs: int = 0
    patience: int = 0


@dataclass
class StageProgress:
    """Where a progressive training stands: all that is needed to go on with it.

    Attributes:
        number: of the stage in progress, from 0.
        first_step: optimiser steps that were done when it began.
        first_epoch: epoch that it began with.
        history: error of each validation since then, lower is better.
    """

    number: int = 0
    first_step: int = 0
    first_epoch: int = 0
    history: list[float] = field(default_factory=list)


def plan_stages(config: Config) -> list[Stage]:
    """The stages of a training, with every setting filled in; none where the training is not progressive.

    A setting that a stage does not give is that of the stage before. The first stage inherits from ``config.model`` and
    ``config.training``; its own defaults are masks of full width, all of the data in random order, nothing frozen.

    Raises:
        ConfigError: layers are taken away, or the last stage has not the depth of ``config.model``.
    """
    model, progressive = config.model, config.progressive
    given = doubling_stages(config) if progressive.kind == "doubling" else progressive.stages
    full = (model.encoder_layers, model.decoder_layers)
    stage = Stage(*full, model.dropout, model.attention_dropout, config.training.label_smoothing)
    plan: list[Stage] = []
    for settings in given:
        values = {item.name: getattr(settings, item.name) for item in fields(settings)}
        stage = replace(stage, **{name: value for name, value in values.items() if value is not None})
        _check_depth(stage, plan, model)
        plan.append(stage)
    if plan and (stage.encoder_layers, stage.decoder_layers) != full:
        raise ConfigError(
            f"progressive.stages: the last stage has {stage.encoder_layers} + {stage.decoder_layers} layers, the model "
            f"{model.encoder_layers} + {model.decoder_layers}: add a last stage with the full depth"
        )
    return plan


def _check_depth(stage: Stage, plan: Sequence[Stage], model: ModelConfig) -> None:
    """That a stage has no fewer layers than the one before it, and no more than the model."""
    for name in ("encoder_layers", "decoder_layers"):
        depth, full = getattr(stage, name), getattr(model, name)
        before = getattr(plan[-1], name) if plan else min(1, full)
        if not before <= depth <= full:
            raise ConfigError(
                f"progressive.stages: stage {len(plan) + 1} has {name}={depth}; it must lie between {before}, that of "
                f"the stage before, and model.{name}={full}"
            )


def doubling_stages(config: Config) -> list[StageConfig]:
    """One layer each in encoder and decoder, then twice as many every ``stage_epochs`` epochs, up to the full depth.

    The last stage has no end of its own: it is the training of the full model. A decoder that begins as a language
    model has all of its layers from the start: what they know about text is not to be learnt again.
    """
    encoder, decoder = config.model.encoder_layers, config.model.decoder_layers
    stages, depth = [], 1
    while True:
        decoder_layers = decoder if config.initialise.decoder else min(depth, decoder)
        stage = StageConfig(encoder_layers=min(depth, encoder), decoder_layers=decoder_layers)
        stages.append(stage)
        if (stage.encoder_layers, stage.decoder_layers) == (encoder, decoder):
            return stages
        stage.epochs = config.progressive.stage_epochs
        depth *= 2


def config_of_stage(config: Config, stage: Stage) -> Config:
    """The configuration of the model as it is in a stage, which its checkpoints hold.

    Where the model has its full depth that is ``config`` itself. Before, it is that of a plain model of few layers.
    """
    model = replace(config.model, encoder_layers=stage.encoder_layers, decoder_layers=stage.decoder_layers)
    return config if model == config.model else replace(config, model=model, progressive=ProgressiveConfig())


# ------------------------------------------------------------------------------------------------ growing


@torch.no_grad()
def make_identity(layer: nn.Module) -> nn.Module:
    """Let a layer pass on unchanged what it is given: the last projection of each of its sublayers becomes zero.

    Each sublayer adds its output to the residual stream, and now adds nothing. Its other weights stay as they are, so
    that its last projection gets a gradient at once, and through it, a step later, the others do.

    Args:
        layer: an encoder or decoder layer; the sublayers in it are the modules whose class :data:`OUTPUTS` names, and
            the projection of each is the attribute named there. Weight and bias (where there is one) become zero.

    Returns:
        The layer itself, changed.
    """
    for module in layer.modules():
        for kind, name in OUTPUTS.items():
            if isinstance(module, kind):
                projection = getattr(module, name)
                projection.weight.zero_()
                if projection.bias is not None:
                    projection.bias.zero_()
    return layer


def places_of_new(old: int, depth: int, place: Place = "top") -> list[int]:
    """Which layers of a grown stack are new.

    Args:
        old: layers before.
        depth: layers after.
        place: ``top``: the new ones follow the old ones; ``between``: the k-th of n new layers, from 0, stands behind
            old layer ``k * old // n``, so that they are spread evenly.

    Returns:
        Their indices in the grown stack, in order.
    """
    new = depth - old
    return list(range(old, depth)) if place == "top" else [k * old // new + k + 1 for k in range(new)]


def grow_stack(layers: nn.ModuleList, depth: int, make: Callable[[], nn.Module], place: Place = "top") -> nn.ModuleList:
    """A deeper stack around the layers of a shallower one, which computes the same.

    At the places that :func:`places_of_new` names, the stack has new layers that begin as the identity
    (:func:`make_identity`): fresh ones (``top``), or copies of the layer just below (``between``). All others are the
    old layers themselves, in their order, not copies: an optimiser knows their parameters.

    Args:
        layers: the stack so far.
        depth: layers that it is to have.
        make: gives a fresh layer with random weights.
        place: ``top`` or ``between``.

    Raises:
        ValueError: there are more layers than that already.
    """
    if depth < len(layers):
        raise ValueError(f"a stack of {len(layers)} layers cannot grow to {depth}")
    old = iter(layers)
    new = places_of_new(len(layers), depth, place)
    grown = nn.ModuleList()
    for index in range(depth):
        if index in new:
            grown.append(make_identity(make() if place == "top" else copy.deepcopy(grown[-1])))
        else:
            grown.append(next(old))
    return grown


def grow(model: SpeechTransformer, config: ModelConfig, seed: int, place: Place = "top") -> None:
    """Bring encoder and decoder of a model to the depth that ``config`` says; what it computes stays the same.

    Args:
        model: is changed; its old parameters are the same objects afterwards, on the same device.
        config: of the grown model; all but the numbers of layers as before.
        seed: decides the random weights of new layers; the global generator is left as it was.
        place: where the new layers go, see :func:`grow_stack`.

    Raises:
        ValueError: the model has more layers already.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for stack, depth in ((model.encoder, config.encoder_layers), (model.decoder, config.decoder_layers)):
            if stack is not None:
                layer = partial(type(stack.layers[0]), config)
                stack.layers = grow_stack(stack.layers, depth, layer, place).to(device)


# ------------------------------------------------------------------------------------------------ what a stage sets


def set_dropout(model: nn.Module, p: float, attention: float) -> None:
    """Set the dropout of a whole model.

    Args:
        model: is changed.
        p: of every :class:`~asr_tutorial.dropout.Dropout` in it, wherever it is: embeddings, sublayers, inside the
            feed-forward blocks and convolutions (``module.p``).
        attention: on the weights of every :class:`~asr_tutorial.attention.MultiHeadAttention` (``module.dropout``).
    """
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = p
        elif isinstance(module, MultiHeadAttention):
            module.dropout = attention


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let the parameters rest whose names match; all the others of the model learn.

    A parameter that rests gets no gradient (``requires_grad`` is False), and an optimiser leaves it alone. Below the
    lowest parameter that learns, the backward pass stops.

    Args:
        model: is changed.
        patterns: regular expressions, each found anywhere in a name (``re.search``): ``^encoder\\.layers\\.[01]\\.``
            for the two lowest layers of the encoder. Without any, everything learns.

    Returns:
        The names of the parameters that rest.

    Raises:
        ConfigError: a pattern that is no regular expression or matches no name, or nothing is left that learns.
    """
    _check_patterns([name for name, _ in model.named_parameters()], patterns)
    frozen = []
    for name, parameter in model.named_parameters():
        rests = any(re.search(pattern, name) for pattern in patterns)
        parameter.requires_grad_(not rests)
        if rests:
            frozen.append(name)
    return frozen


def _check_patterns(names: Sequence[str], patterns: Sequence[str]) -> None:
    left = set(names)
    for pattern in patterns:
        try:
            found = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise ConfigError(f"progressive: freeze: {pattern!r} is not a regular expression ({error})") from error
        if not found:
            raise ConfigError(
                f"progressive: freeze: {pattern!r} matches no parameter; names are such as {names[0]} and {names[-1]}"
            )
        left -= found
    if not left:
        raise ConfigError("progressive: freeze: every parameter matches, nothing is left to learn")


def check_freezing(model: nn.Module, plan: Sequence[Stage]) -> None:
    """Find what a later stage could not freeze now, and not when that stage begins, hours later.

    Args:
        model: with one layer at least in each stack that it has; all layers of a stack have the same parameters.
        plan: the stages.

    Raises:
        ConfigError: as :func:`freeze`.
    """
    names = [name for name, _ in model.named_parameters()]
    for stage in plan:
        depths = {"encoder": stage.encoder_layers, "decoder": stage.decoder_layers}
        known = [name for name in names if not re.match(r"(en|de)coder\.layers\.", name)]
        for name in names:
            if match := re.fullmatch(r"((?:en|de)coder)\.layers\.0\.(.+)", name):
                known += [f"{match[1]}.layers.{index}.{match[2]}" for index in range(depths[match[1]])]
        _check_patterns(known, stage.freeze)


def choose_utterances(lengths: Sequence[int], share: float, order: str, seed: int) -> list[int]:
    """Which utterances a stage is trained on.

    Args:
        lengths: frames of each utterance.
        share: of the utterances, in (0, 1]; the number is rounded up.
        order: ``random``: drawn evenly from the whole corpus, since the first ones would be those of a few speakers;
            ``short``: the shortest ones, of equally long ones the first (curriculum learning, Bengio et al. 2009).
        seed: decides a random choice. With the same seed a larger share holds the smaller one.

    Returns:
        Their numbers, in ascending order.
    """
    count = math.ceil(share * len(lengths))
    if order == "short":
        ranked = np.argsort(np.asarray(lengths), kind="stable")
    else:
        ranked = np.random.default_rng(seed).permutation(len(lengths))
    return sorted(ranked[:count].tolist())


# ------------------------------------------------------------------------------------------------ the end of a stage


def plateau(history: Sequence[float], patience: int) -> bool:
    """Whether the error has stopped falling: none of the last ``patience`` values is below all those before them.

    Args:
        history: errors, the latest last; lower is better, NaN is no improvement.
        patience: values without improvement that it takes, 1 at least.

    Returns:
        False while there are not more than ``patience`` values.
    """
    before, recent = history[:-patience], history[-patience:]
    best = min((value for value in before if not math.isnan(value)), default=math.inf)
    return bool(before) and not any(value < best for value in recent)


def is_over(stage: Stage | StageConfig, steps: int, epochs: int, history: Sequence[float]) -> bool:
    """Whether a stage has come to its end: the first of its limits that is reached ends it, and 0 is no limit.

    Args:
        stage: says ``steps``, ``epochs`` and ``patience``.
        steps: optimiser steps made in this stage.
        epochs: whole passes over its share of the data.
        history: error of each validation in this stage; see :func:`plateau`.
    """
    return (
        (stage.steps > 0 and steps >= stage.steps)
        or (stage.epochs > 0 and epochs >= stage.epochs)
        or (stage.patience > 0 and plateau(history, stage.patience))
    )
