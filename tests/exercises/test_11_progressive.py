"""Chapter 11: layers that do nothing yet, deeper stacks, what a stage sets, when it ends, and reading own guesses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.config import Config, StageConfig, from_dict
from asr_tutorial.decoder import DecoderLayer
from asr_tutorial.dropout import Dropout
from asr_tutorial.encoder import ConvEncoderLayer, EncoderLayer
from asr_tutorial.model import build_model
from asr_tutorial.progressive import (
    choose_utterances,
    freeze,
    grow_stack,
    is_over,
    make_identity,
    places_of_new,
    plateau,
    set_dropout,
)
from asr_tutorial.training.sampling import mix_guesses

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "encoder_layers": 2, "decoder_layers": 2, "subsampling_channels": 2}
CONFIG = from_dict(Config, {"model": {**SIZES, "conv_kernel": 3}, "features": {"n_mels": 8}})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def restless(module: nn.Module) -> nn.Module:
    """Weights and biases that are all different from zero, as after some training."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * random(*parameter.shape, seed=number) + 0.01)
    return module.eval()


def layer_of(kind: type[nn.Module]) -> nn.Module:
    return restless(kind(CONFIG.model))


def through(layer: nn.Module, x: Tensor) -> Tensor:
    """What an encoder or decoder layer makes of (2, 5, 8)."""
    if isinstance(layer, DecoderLayer):
        cross_mask = torch.ones(2, 1, 4, dtype=torch.bool)
        return layer(x, random(2, 4, 8, seed=9), None, cross_mask)[0].detach()
    return layer(x, torch.ones(2, 5, dtype=torch.bool))[0].detach()


# ---------------------------------------------------------------------------------------------------- 11.1
@pytest.mark.exercise("11.1")
def test_a_plain_layer_passes_on_what_it_gets():
    layer, x = layer_of(EncoderLayer), random(2, 5, 8)
    before = through(layer, x)
    expect(not torch.allclose(before, x), "a layer that changes its input", "the same", "the test itself is wrong")
    make_identity(layer)
    same(
        through(layer, x),
        x,
        "self-attention and feed-forward block are each added to x: if both add zero, x passes on unchanged",
        tolerance=0,
    )


@pytest.mark.exercise("11.1")
@pytest.mark.parametrize("kind", [ConvEncoderLayer, DecoderLayer])
def test_every_kind_of_layer_passes_on_what_it_gets(kind):
    layer, x = layer_of(kind), random(2, 5, 8)
    make_identity(layer)
    same(
        through(layer, x),
        x,
        f"{kind.__name__} has three sublayers, each with a last projection of its own: "
        "out_proj, linear2, and project in a convolution",
        tolerance=0,
    )


@pytest.mark.exercise("11.1")
def test_biases_are_zero_and_the_layer_comes_back():
    layer = layer_of(EncoderLayer)
    got = make_identity(layer)
    expect(
        got is layer, "the layer itself, changed", type(got).__name__, "the caller puts what you return into the stack"
    )
    bias = layer.feed_forward.linear2.bias
    same(bias, torch.zeros(8), "a bias is added to every position: a zero weight alone does not give zero")
    layer = nn.Sequential(MultiHeadAttention(8, 2, bias=False))
    make_identity(layer)
    same(layer[0].out_proj.weight, torch.zeros(8, 8), "a projection without bias has only its weight to set")


@pytest.mark.exercise("11.1")
def test_only_the_last_projections_are_touched():
    layer, fresh = layer_of(ConvEncoderLayer), layer_of(ConvEncoderLayer)
    make_identity(layer)
    ours, theirs = dict(layer.named_parameters()), dict(fresh.named_parameters())
    zero = ("self_attention.out_proj", "feed_forward.linear2", "conv.project")
    for name in ours:
        if not name.startswith(zero):
            same(
                ours[name],
                theirs[name],
                f"{name} must stay as it is: if it were zero as well, neither it nor the projection behind it would "
                "ever get a gradient, and the layer could learn no more than a constant",
            )


@pytest.mark.exercise("11.1")
def test_an_identity_layer_can_learn():
    layer, x = layer_of(EncoderLayer), random(2, 5, 8)
    make_identity(layer)
    expect(
        all(p.requires_grad for p in layer.parameters()),
        "parameters that all learn",
        [n for n, p in layer.named_parameters() if not p.requires_grad],
        "a new layer begins as the identity, but it is there to become something else",
    )
    (layer(x, torch.ones(2, 5, dtype=torch.bool))[0] ** 2).sum().backward()
    for name in ("self_attention.out_proj.weight", "feed_forward.linear2.weight"):
        norm = float(layer.get_parameter(name).grad.norm())
        expect(norm > 0, "a gradient", f"none at {name}", "the zero projection is what learns first")


def probe_identity(m: ModuleType) -> Iterator[Any]:
    for kind in (EncoderLayer, ConvEncoderLayer, DecoderLayer):
        layer = layer_of(kind)
        got = m.make_identity(layer)
        yield float(got is layer)
        yield through(layer, random(2, 5, 8))
        yield torch.stack([p.detach().abs().sum() for p in layer.parameters()])
        yield [float(p.requires_grad) for p in layer.parameters()]


# ---------------------------------------------------------------------------------------------------- 11.2
class Named(nn.Module):
    """A layer that can be told from others."""

    def __init__(self, name: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(name))
        self.attention = MultiHeadAttention(4, 2)


def stack_of(*names: float) -> nn.ModuleList:
    return nn.ModuleList(Named(name) for name in names)


def names_of(layers: nn.ModuleList) -> list[float]:
    return [float(layer.weight.detach()) for layer in layers]


@pytest.mark.exercise("11.2")
def test_at_the_top_new_layers_follow_the_old_ones():
    same(places_of_new(2, 5, "top"), [2, 3, 4], "two old layers have indices 0 and 1; three new ones come behind them")
    same(places_of_new(3, 3, "top"), [], "as many layers as before: none is new")


@pytest.mark.exercise("11.2")
@pytest.mark.parametrize(
    ("old", "depth", "expected"), [(2, 4, [1, 3]), (1, 4, [1, 2, 3]), (8, 10, [1, 6]), (3, 4, [1]), (2, 5, [1, 2, 4])]
)
def test_between_they_are_spread_evenly(old, depth, expected):
    same(
        places_of_new(old, depth, "between"),
        expected,
        f"new layer k of {depth - old} stands behind old layer k * {old} // {depth - old}, with k new ones before it",
    )


@pytest.mark.exercise("11.2")
def test_old_layers_stay_themselves_and_in_order():
    for place in ("top", "between"):
        layers = stack_of(1.0, 2.0)
        old = list(layers)
        grown = grow_stack(layers, 4, lambda: Named(9.0), place)
        kept = [layer for layer in grown if any(layer is other for other in old)]
        expect(
            len(grown) == 4 and len(kept) == 2 and kept[0] is old[0] and kept[1] is old[1],
            "4 layers, two of them the old ones themselves, in their order",
            f"{len(grown)} layers, {len(kept)} of them old",
            "an optimiser holds the parameters themselves: a copy of a layer would no longer be trained",
        )


@pytest.mark.exercise("11.2")
def test_fresh_at_the_top_copies_between():
    layers = stack_of(1.0, 2.0)
    same(
        names_of(grow_stack(layers, 4, lambda: Named(9.0), "top")),
        [1, 2, 9, 9],
        "at the top each new layer comes from make()",
    )
    grown = grow_stack(stack_of(1.0, 2.0), 5, lambda: Named(9.0), "between")
    same(names_of(grown), [1, 1, 1, 2, 2], "between, each new layer is a copy of the layer just below it")
    expect(
        len({id(layer) for layer in grown}) == 5 and len({id(layer.weight) for layer in grown}) == 5,
        "five layers with parameters of their own",
        f"{len({id(layer.weight) for layer in grown})} different parameters",
        "the same layer twice in a stack would share its weights with itself: use copy.deepcopy",
    )


@pytest.mark.exercise("11.2")
def test_new_layers_begin_as_the_identity_and_old_ones_do_not():
    for place, new in (("top", [2, 3]), ("between", [1, 3])):
        grown = grow_stack(stack_of(1.0, 2.0), 4, lambda: Named(9.0), place)
        zero = [i for i, layer in enumerate(grown) if not layer.attention.out_proj.weight.any()]
        same(zero, new, f"{place}: make_identity is for the new layers alone; the old ones have learnt something")


def probe_grow(m: ModuleType) -> Iterator[Any]:
    for old, depth in ((2, 5), (2, 4), (1, 4), (8, 10), (3, 4), (3, 3)):
        for place in ("top", "between"):
            yield list(m.places_of_new(old, depth, place))
    for place in ("top", "between"):
        torch.manual_seed(0)
        layers = stack_of(1.0, 2.0)
        old = list(layers)
        grown = m.grow_stack(layers, 5, lambda: Named(9.0), place)
        yield names_of(grown)
        yield [float(any(layer is other for other in old)) for layer in grown]
        yield [float(layer.attention.out_proj.weight.abs().sum() > 0) for layer in grown]
        yield float(len({id(layer.weight) for layer in grown}))


# ---------------------------------------------------------------------------------------------------- 11.3
def dropped(model: nn.Module) -> dict[str, float]:
    """The dropout of each module that has one."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            found[name] = module.p
        elif isinstance(module, MultiHeadAttention):
            found[name] = module.dropout
    return found


def with_dropout(p: float, attention: float, module: Any) -> dict[str, float]:
    model = build_model(CONFIG, 7)
    module.set_dropout(model, p, attention) if isinstance(module, ModuleType) else module(model, p, attention)
    return dropped(model)


@pytest.mark.exercise("11.3")
@pytest.mark.parametrize("part", ["encoder.dropout", "decoder.dropout"])
def test_embeddings_are_reached(part):
    same(with_dropout(0.3, 0.0, set_dropout)[part], 0.3, f"{part} drops what goes into the first layer")


@pytest.mark.exercise("11.3")
def test_every_layer_of_both_stacks_is_reached():
    found = with_dropout(0.3, 0.0, set_dropout)
    for name in found:
        if not name.endswith("attention"):
            same(found[name], 0.3, f"{name} must have the stage's dropout too: one module left out regularises less")


@pytest.mark.exercise("11.3")
def test_attention_weights_have_a_dropout_of_their_own():
    found = with_dropout(0.3, 0.1, set_dropout)
    names = [name for name in found if name.endswith("attention")]
    same(
        [found[name] for name in names],
        [0.1] * 6,
        f"attention weights get `attention`, in {', '.join(names)}; it is not the dropout of the rest",
    )


@pytest.mark.exercise("11.3")
def test_it_can_be_switched_off_again():
    model = build_model(CONFIG, 7)
    set_dropout(model, 0.5, 0.5)
    set_dropout(model, 0.0, 0.0)
    found = dropped(model)
    expect(
        not any(found.values()), "no dropout anywhere", found, "a later stage may want less: 0 is a value like others"
    )


def probe_dropout(m: ModuleType) -> Iterator[Any]:
    for p, attention in ((0.3, 0.1), (0.0, 0.0), (0.2, 0.0)):
        model = build_model(CONFIG, 7)
        m.set_dropout(model, 0.4, 0.25)
        m.set_dropout(model, p, attention)
        yield list(dropped(model).values())


# ---------------------------------------------------------------------------------------------------- 11.4
def small_model() -> nn.Module:
    torch.manual_seed(0)
    return build_model(CONFIG, 7)


def resting(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


LOWEST = r"^encoder\.layers\.0\."


@pytest.mark.exercise("11.4")
def test_what_matches_rests_and_what_does_not_learns():
    model = small_model()
    freeze(model, [LOWEST])
    wanted = [name for name, _ in model.named_parameters() if name.startswith("encoder.layers.0.")]
    expect(
        resting(model) == wanted,
        f"requires_grad False for {len(wanted)} parameters, all of encoder.layers.0",
        f"{len(resting(model))} parameters that rest, such as {resting(model)[:2]}",
        "the pattern names the lowest layer of the encoder, and that alone",
    )


@pytest.mark.exercise("11.4")
def test_a_pattern_may_match_anywhere_in_a_name():
    model = small_model()
    freeze(model, ["norm1", "embedding"])
    wanted = [name for name, _ in model.named_parameters() if "norm1" in name or "embedding" in name]
    expect(
        resting(model) == wanted,
        f"{len(wanted)} parameters that rest, of norm1 in every layer and of the embedding",
        f"{len(resting(model))}, such as {resting(model)[:2]}",
        "re.search finds a pattern anywhere, re.match only at the beginning; and any of the patterns is enough",
    )


@pytest.mark.exercise("11.4")
def test_the_names_of_what_rests_come_back():
    model = small_model()
    got = freeze(model, [LOWEST])
    expect(got == resting(model), resting(model)[:3], got if got is None else list(got)[:3], "the run's log names them")


@pytest.mark.exercise("11.4")
def test_what_rested_learns_again():
    model = small_model()
    freeze(model, [LOWEST])
    freeze(model, ["embedding"])
    expect(
        resting(model) == ["decoder.embedding.weight"],
        "only decoder.embedding.weight rests",
        resting(model)[:3],
        "each stage says anew what rests. An unfreezing that does nothing is a well-known mistake: the run goes on, "
        "the loss falls, and half of the model never learns again",
    )
    freeze(model, [])
    expect(not resting(model), "nothing rests", resting(model)[:3], "without a pattern everything learns")


@pytest.mark.exercise("11.4")
def test_what_rests_gets_no_gradient():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    freeze(model, [r"^0\."])
    (model(torch.ones(4, 2)) ** 2).sum().backward()
    same(
        [parameter.grad is not None for parameter in model.parameters()],
        [False, False, True, True],
        "the resting layer gets no gradient at all, and an optimiser passes over what has none, weight decay included",
    )


def probe_freeze(m: ModuleType) -> Iterator[Any]:
    model = small_model()
    for patterns in ([LOWEST], ["norm1", "embedding"], ["embedding"], []):
        got = m.freeze(model, patterns)
        yield "none" if got is None else sorted(got)
        yield [float(p.requires_grad) for p in model.parameters()]
    chain = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    m.freeze(chain, [r"^0\."])
    yield float(chain[0].weight.requires_grad)


# ---------------------------------------------------------------------------------------------------- 11.5
LENGTHS = [50, 10, 30, 20, 40, 10]


@pytest.mark.exercise("11.5")
def test_the_shortest_by_hand():
    same(
        choose_utterances(LENGTHS, 0.5, "short", 1),
        [1, 3, 5],
        "half of six are three: 10, 10 and 20 frames, ascending numbers",
    )
    same(choose_utterances(LENGTHS, 0.2, "short", 1), [1, 5], "0.2 * 6 is 1.2, rounded up to 2")
    same(choose_utterances(LENGTHS, 0.1, "short", 1), [1], "of two equally short ones the first")


@pytest.mark.exercise("11.5")
def test_all_of_them():
    for order in ("short", "random"):
        same(
            choose_utterances(LENGTHS, 1.0, order, 3),
            range(6),
            f"{order}: a share of 1 is everything, in ascending order",
        )


@pytest.mark.exercise("11.5")
def test_a_random_share_is_spread_over_the_corpus():
    chosen = choose_utterances([100] * 1000, 0.1, "random", 1)
    expect(
        len(chosen) == 100 and len(set(chosen)) == 100 and list(chosen) == sorted(chosen),
        "100 different numbers in ascending order",
        f"{len(chosen)} numbers, {len(set(chosen))} different: {list(chosen)[:5]} ...",
        "a tenth of a thousand utterances, none twice",
    )
    first = sum(number < 500 for number in chosen)
    expect(
        30 <= first <= 70,
        "about half of them from the first half of the corpus",
        f"{first} of 100",
        "a corpus is sorted by speaker: its first utterances are the first speakers, and a model trained on them "
        "learns their voices",
    )


@pytest.mark.exercise("11.5")
def test_the_seed_decides():
    one, again, other = (choose_utterances([100] * 60, 0.5, "random", seed) for seed in (1, 1, 2))
    same(one, again, "the same seed gives the same utterances: a run that is resumed must find its own again")
    expect(
        list(one) != list(other),
        "other utterances for another seed",
        list(other)[:5],
        "the seed has to reach the generator",
    )


@pytest.mark.exercise("11.5")
def test_a_larger_share_holds_the_smaller_one():
    for order in ("short", "random"):
        small, large = (set(choose_utterances(LENGTHS * 10, share, order, 1)) for share in (0.3, 0.6))
        expect(
            small <= large,
            "all of the smaller share in the larger one",
            f"{order}: {len(small - large)} of {len(small)} are missing",
            "from stage to stage data is added, not exchanged: rank everything first, then cut",
        )


def probe_choose(m: ModuleType) -> Iterator[Any]:
    for share in (0.1, 0.2, 0.5, 1.0):
        for order in ("short", "random"):
            for seed in (1, 2):
                yield list(m.choose_utterances(LENGTHS * 3, share, order, seed))


# ---------------------------------------------------------------------------------------------------- 11.6
@pytest.mark.exercise("11.6")
@pytest.mark.parametrize(
    ("history", "patience", "expected", "why"),
    [
        ([5.0, 4.0, 3.0], 2, False, "the error falls from value to value"),
        ([3.0, 4.0, 5.0], 2, True, "two values in a row, 4 and 5, are not below the 3 before them"),
        ([3.0, 4.0, 2.0], 2, False, "2 is below 3: one improvement within the last two is enough"),
        (
            [9.0, 1.0, 5.0, 4.0],
            2,
            True,
            "it falls from 5 to 4, but the best was 1: what counts is the best, not the last",
        ),
        ([3.0, 4.0, 3.0], 2, True, "as good as before is no improvement"),
    ],
)
def test_the_error_has_stopped_falling(history, patience, expected, why):
    expect(
        plateau(history, patience) == expected,
        expected,
        f"{plateau(history, patience)} for {history}, patience {patience}",
        why,
    )


@pytest.mark.exercise("11.6")
def test_there_must_be_something_to_improve_on():
    for history in ([], [3.0], [3.0, 4.0]):
        expect(
            not plateau(history, 2), False, f"True for {history}", "two values without improvement need one before them"
        )


@pytest.mark.exercise("11.6")
def test_nan_is_no_improvement():
    expect(plateau([1.0, math.nan, math.nan], 2) == True, True, "False", "NaN is not below 1")  # noqa: E712
    expect(not plateau([math.nan, math.nan, 1.0], 2), False, "True", "after NaN, 1 is an improvement")
    expect(plateau([math.nan, 1.0, 2.0, 2.0], 2) == True, True, "False", "the best so far is 1, not NaN")  # noqa: E712


@pytest.mark.exercise("11.6")
@pytest.mark.parametrize(
    ("steps", "epochs", "history", "expected"),
    [(9, 2, [3.0, 2.0], False), (10, 0, [], True), (0, 3, [], True), (0, 0, [1.0, 2.0, 2.0], True), (99, 0, [], True)],
)
def test_the_first_limit_ends_the_stage(steps, epochs, history, expected):
    got = is_over(StageConfig(steps=10, epochs=3, patience=2), steps, epochs, history)
    expect(
        bool(got) == expected,
        expected,
        f"{got} after {steps} steps, {epochs} epochs and errors {history}",
        "the limits are 10 steps, 3 epochs and 2 validations without improvement; any one of them ends the stage",
    )


@pytest.mark.exercise("11.6")
def test_zero_is_no_limit():
    for stage in (StageConfig(), StageConfig(steps=1000), StageConfig(epochs=50), StageConfig(patience=9)):
        got = is_over(stage, 20, 4, [1.0, 1.0, 1.0])
        expect(not got, False, f"True for {stage.steps=}, {stage.epochs=}, {stage.patience=}", "a limit of 0 is none")


def probe_end(m: ModuleType) -> Iterator[Any]:
    histories = (
        [], [3.0], [3.0, 3.0], [5.0, 4.0, 3.0], [3.0, 4.0, 5.0], [3.0, 4.0, 2.0], [9.0, 1.0, 5.0, 4.0], [3.0, 4.0, 3.0],
        [1.0, math.nan, math.nan], [math.nan, math.nan, 1.0], [math.nan, 1.0, 2.0, 2.0], [5.0, 6.0, 4.0, 4.5],
        [5.0, 4.0, 4.5, 4.2],
    )  # fmt: skip
    for history in histories:
        yield [float(bool(m.plateau(history, patience))) for patience in (1, 2, 3)]
    for stage in (
        StageConfig(),
        StageConfig(steps=10),
        StageConfig(epochs=3),
        StageConfig(steps=10, epochs=3, patience=2),
    ):
        for steps, epochs, history in (
            (0, 0, []),
            (9, 2, [3.0, 2.0]),
            (10, 0, []),
            (11, 0, []),
            (0, 3, []),
            (0, 0, [1.0, 2.0, 2.0]),
        ):
            yield float(bool(m.is_over(stage, steps, epochs, history)))


# ---------------------------------------------------------------------------------------------------- 11.7
SOS, END, PAD, BLANK = 1, 2, 4, 0
SPECIAL = [BLANK, SOS, END, 3, PAD]
TOKENS = torch.tensor([[SOS, 6, 7, 8], [SOS, 9, PAD, PAD]])


def saying(*rows: list[int], vocab: int = 12) -> Tensor:
    """Logits (batch, length, vocab) whose most probable tokens are these."""
    wanted = torch.tensor(rows)
    logits = random(*wanted.shape, vocab, seed=3)
    return logits.scatter(-1, wanted[..., None], 9.0)


@pytest.mark.exercise("11.7")
def test_a_share_of_one_is_teacher_forcing():
    same(mix_guesses(TOKENS, saying([5, 5, 5, 5], [5, 5, 5, 5]), 1.0, PAD, SPECIAL), TOKENS, "every true token stays")


@pytest.mark.exercise("11.7")
def test_a_guess_stands_where_the_next_token_is_read():
    same(
        mix_guesses(TOKENS, saying([9, 10, 11, 5], [10, 5, 5, 5]), 0.0, PAD, SPECIAL),
        [[SOS, 9, 10, 11], [SOS, 10, PAD, PAD]],
        "after SOS the decoder guesses 9: that is what it would read at position 1 in a search. What it says after the "
        "last token (5) is read nowhere, and SOS and PAD stay",
    )


@pytest.mark.exercise("11.7")
def test_special_tokens_are_never_read():
    logits = saying([9, 10, 11, 5], [10, 5, 5, 5])
    logits[:, 1, END] = 20.0
    logits[:, 0, BLANK] = 20.0
    same(
        mix_guesses(TOKENS, logits, 0.0, PAD, SPECIAL),
        [[SOS, 9, 10, 11], [SOS, 10, PAD, PAD]],
        "EOS and blank were most probable here, but a search ends at EOS and never reads it: the best other token "
        "counts",
    )


@pytest.mark.exercise("11.7")
def test_each_position_is_drawn_by_itself():
    torch.manual_seed(0)
    tokens = torch.full((100, 41), 6)
    wanted = torch.tensor(0.75)  # as the library gives it
    kept = (mix_guesses(tokens, saying([7] * 41).expand(100, -1, -1), wanted, PAD, SPECIAL)[:, 1:] == 6).float()
    share = float(kept.mean())
    expect(
        0.72 < share < 0.78,
        "about 0.75 of the true tokens kept",
        f"{share:.2f}",
        "share is the probability of the true token",
    )
    rows, columns = kept.mean(dim=1), kept.mean(dim=0)
    expect(
        float(rows.min()) > 0.4
        and float(rows.max()) <= 1
        and float(columns.min()) > 0.5
        and float(columns.max()) < 0.95,
        "every row and every position with about this share",
        f"rows from {float(rows.min()):.2f}, positions {float(columns.min()):.2f} to {float(columns.max()):.2f}",
        "one draw for a whole text, or for a position of the whole batch, mixes texts, not tokens",
    )


@pytest.mark.exercise("11.7")
def test_nothing_given_is_changed():
    tokens, logits = TOKENS.clone(), saying([9, 10, 11, 5], [10, 5, 5, 5])
    given = logits.clone()
    mix_guesses(tokens, logits, 0.0, PAD, SPECIAL)
    same(tokens, TOKENS, "the true tokens are still needed: work on a copy")
    same(logits, given, "the logits are still needed: work on a copy")


def probe_mix(m: ModuleType) -> Iterator[Any]:
    for share in (1.0, 0.0):
        yield m.mix_guesses(TOKENS.clone(), saying([9, 10, 11, 5], [10, 5, 5, 5]), share, PAD, SPECIAL)
    logits = saying([9, 10, 11, 5], [10, 5, 5, 5])
    logits[:, 1, END] = 20.0
    yield m.mix_guesses(TOKENS.clone(), logits, 0.0, PAD, SPECIAL)
    torch.manual_seed(0)
    tokens = torch.full((200, 41), 6)
    kept = (m.mix_guesses(tokens, saying([7] * 41).expand(200, -1, -1), 0.8, PAD, SPECIAL)[:, 1:] == 6).float()
    yield float(kept.mean() > 0.5)  # coarse: draws may be made in any way
    yield [float(kept.mean(dim=1).std() > 0.2), float(kept.mean(dim=0).std() > 0.2)]


PROBES = {
    "11.1": probe_identity,
    "11.2": probe_grow,
    "11.3": probe_dropout,
    "11.4": probe_freeze,
    "11.5": probe_choose,
    "11.6": probe_end,
    "11.7": probe_mix,
}
