"""Chapter 05: fewer frames, a feed-forward block, the pre-norm layer, and the encoder that they make."""

from __future__ import annotations

import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn
from torch.nn import functional as F

import asr_tutorial.encoder as library
from asr_tutorial.config import ModelConfig
from asr_tutorial.encoder import (
    ConvSubsampling,
    FeedForward,
    PoolSubsampling,
    halve,
)
from asr_tutorial.masks import padding_mask

MELS = 6
SMALL = {"num_heads": 2, "d_ff": 24, "encoder_layers": 2, "subsampling_channels": 3, "max_length": 50, "dropout": 0.0}


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scrambled(module: nn.Module) -> nn.Module:
    """Every parameter a different random number, so that no bias is 0 and no norm is like another; evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            spread = 0.5 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
            if "norm" in name and name.endswith("weight"):
                parameter += 1
    return module.eval()


def subsampling(m, factor: int = 4):
    return scrambled(m.ConvSubsampling(MELS, 8, factor, 3))


def pooling(m, factor: int = 4):
    return scrambled(m.PoolSubsampling(MELS, 8, factor, 3))


def layer(m, **changes: object):
    return scrambled(m.EncoderLayer(ModelConfig(**{"d_model": 8, **SMALL, **changes})))


def encoder(m, **changes: object):
    return scrambled(m.Encoder(ModelConfig(**{"d_model": 8, **SMALL, **changes}), MELS))


def utterances(*lengths: int, time: int = 0) -> tuple[Tensor, Tensor]:
    """Features of utterances, zero behind each one's end, and the lengths; the same length means the same values."""
    features = torch.zeros(len(lengths), max(time, *lengths), MELS)
    for row, length in enumerate(lengths):
        features[row, :length] = numbers(length, MELS, seed=length)
    return features, torch.tensor(lengths)


def output_of(module: nn.Module, *inputs: object) -> Tensor:
    """The first of what a module returns, once it is sure that it is a tensor."""
    returned = module(*inputs)
    first = returned[0] if isinstance(returned, tuple) else returned
    expect(isinstance(first, Tensor), "a tensor", f"{type(first).__name__}", "the next layer computes with it.")
    return first


def pair_of(returned: object, what: str) -> tuple:
    right = isinstance(returned, tuple) and len(returned) == 2
    expect(right, f"two things: {what}", f"{type(returned).__name__}", "whoever calls this method unpacks both.")
    assert isinstance(returned, tuple)
    return returned


# ----------------------------------------------------------------------------------- 5.1 halve, ConvSubsampling.forward


@pytest.mark.exercise("5.1")
def test_half_a_length_is_rounded_up():
    got = halve(torch.tensor([1, 2, 3, 4, 5, 6, 99, 100]))
    expect(isinstance(got, Tensor), "a tensor", type(got).__name__, "lengths come as a tensor (batch,) and stay one.")
    same(
        got,
        [1, 1, 2, 2, 3, 3, 50, 50],
        "a convolution of stride 2 with padding 1 begins at frames 0, 2, 4, ...: five frames give three outputs. "
        "Rounding down would throw the last frame of every odd utterance away, and an utterance of one frame entirely.",
    )


@pytest.mark.exercise("5.1")
def test_every_second_frame_and_every_second_mel():
    """A kernel that copies its centre: what comes out is the ReLU of every second number of the input."""
    module = ConvSubsampling(4, 4, 2, 2).eval()
    with torch.no_grad():
        module.convs[0].weight.zero_()
        module.convs[0].weight[0, 0, 1, 1] = 1.0  # channel 0: the input
        module.convs[0].weight[1, 0, 1, 1] = -1.0  # channel 1: the input, negative
        module.convs[0].bias.zero_()
        module.out.weight.copy_(torch.eye(4))
        module.out.bias.zero_()
    features = torch.tensor([[[1.0, 9, -2, 9], [9, 9, 9, 9], [-3, 9, 4, 9]]])
    out, lengths = pair_of(module(features, torch.tensor([3])), "features and lengths")
    same(
        out,
        [[[1.0, 0, 0, 2], [0, 4, 3, 0]]],
        "here channel 0 copies the input and channel 1 its negative. Of 3 frames and 4 mels stay frames 0, 2 and mels "
        "0, 2; "
        "the ReLU makes negative numbers 0; and an output frame holds channel 0 (its mels in order), then channel 1.",
    )
    same(lengths, [2], "three frames become two.")


@pytest.mark.exercise("5.1")
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_lengths_shrink_as_the_features_do(factor):
    lengths = [1, 2, 3, 4, 5, 8, 9, 17]
    out, shorter = pair_of(subsampling(library, factor)(*utterances(*lengths)), "features and lengths")
    expected = [-(-length // factor) for length in lengths]
    same(
        shorter,
        expected,
        f"with factor {factor}, lengths {lengths} are halved and rounded up once for each convolution. All that "
        "follows "
        "(masks, attention, the CTC loss) takes these lengths as the truth about the *new* frames.",
    )
    same(out.shape, (len(lengths), max(expected), 8), "features come out as (batch, time / factor, d_model).")


@pytest.mark.exercise("5.1")
def test_same_as_the_layers_one_after_the_other():
    module = subsampling(library)
    features, lengths = utterances(13, 13)
    x = features[:, None]
    for conv in module.convs:
        x = F.relu(conv(x))
    expected = torch.stack(
        [torch.cat([x[:, channel, frame] for channel in range(3)], dim=-1) for frame in range(x.shape[2])], dim=1
    )
    same(
        output_of(module, features, lengths),
        module.out(expected),
        "nothing is padding here, so this is the chain: convolution, ReLU, convolution, ReLU, then for each frame the "
        "mels of all "
        "channels side by side (channel 0 first), then `out` with nothing behind it. Another order of the numbers "
        "would train "
        "as well, but weights of other people would not fit.",
    )


@pytest.mark.exercise("5.1")
@pytest.mark.parametrize("factor", [4, 8])
def test_padding_stays_silent_between_the_convolutions(factor):
    module = subsampling(library, factor)
    for length in (1, 5, 9, 10):
        alone = output_of(module, *utterances(length))[0]
        together = output_of(module, *utterances(length, 24, time=32))[0, : len(alone)]
        same(
            together,
            alone,
            f"an utterance of {length} frames must come out the same alone and padded in a batch. After the first "
            "convolution the "
            "padding is no longer 0 (its bias went through the ReLU), and the next kernel reads one frame beyond the "
            "end: "
            "set the padding to 0 again after each convolution.",
        )


@pytest.mark.exercise("5.1")
def test_every_frame_is_heard():
    features, lengths = utterances(9)
    features.requires_grad_()
    output_of(subsampling(library), features, lengths).square().sum().backward()
    grad = features.grad if features.grad is not None else torch.zeros_like(features)
    deaf = [frame for frame in range(9) if not grad[0, frame].abs().sum() > 0]
    expect(
        not deaf, "an influence of each of the 9 frames", f"none of frames {deaf}", "no frame of speech may be lost."
    )


# ---------------------------------------------------------------------------------------------- 5.2 FeedForward.forward


@pytest.mark.exercise("5.2")
def test_feed_forward_by_hand():
    module = FeedForward(2, 3).eval()
    with torch.no_grad():
        module.linear1.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
        module.linear1.bias.copy_(torch.tensor([0.0, 1, -4]))
        module.linear2.weight.copy_(torch.tensor([[1.0, -1, 0], [0, 2, 1]]))
        module.linear2.bias.copy_(torch.tensor([0.0, 10]))
    x = torch.tensor([[[2.0, 1], [-1, 6]]])
    same(
        output_of(module, x),
        [[[0.0, 14], [-7, 25]]],
        "position 0: (2, 1) becomes (2, 2, -1), the ReLU makes (2, 2, 0), linear2 makes (2 - 2, 4 + 10). Position 1: "
        "(-1, 6) "
        "becomes (-1, 7, 1), then (0, 7, 1), then (-7, 15 + 10). The result of linear2 may be negative.",
    )


@pytest.mark.exercise("5.2")
def test_feed_forward_changes_nothing_in_evaluation():
    module = FeedForward(8, 16, dropout=0.5)
    x = numbers(2, 5, 8)
    expected = module.linear2(F.relu(module.linear1(x)))
    module.eval()
    for _ in range(2):
        same(
            output_of(module, x),
            expected,
            "in evaluation mode nothing is dropped: the same sound must give the same text each time. `self.dropout` "
            "knows the "
            "mode; `F.dropout` has to be told.",
        )


@pytest.mark.exercise("5.2")
def test_feed_forward_drops_hidden_units_in_training():
    module = scrambled(FeedForward(8, 64, dropout=0.5)).train()
    x = numbers(1, 200, 8)
    torch.manual_seed(1)
    with torch.no_grad():
        whole = module.linear2(F.relu(module.linear1(x)))
        mean = torch.stack([module(x) for _ in range(50)])
    expect(
        float((mean[0] - mean[1]).abs().max()) > 1e-3,
        "another result each time in training mode",
        "the same result twice",
        "`self.dropout` is applied inside the block; without it the hidden units come to rely on each other.",
    )
    error = float((mean.mean(0) - whole).abs().mean() / whole.abs().mean())
    expect(
        error < 0.3,
        "the result without dropout on average",
        f"one that is {100 * error:.0f} % away from it",
        "dropout scales what it keeps, so that the mean stays. It must act once.",
    )


@pytest.mark.exercise("5.2")
def test_feed_forward_drops_between_the_two_layers():
    module = FeedForward(4, 16, dropout=0.5).train()
    with torch.no_grad():
        module.linear2.weight.zero_()
        module.linear2.bias.fill_(1.0)
    same(
        output_of(module, numbers(1, 20, 4)),
        torch.ones(1, 20, 4),
        "with weights 0 and bias 1 linear2 always says 1: dropout acts on the hidden units between the two layers, "
        "not on the "
        "output (the encoder layer does that).",
    )


@pytest.mark.exercise("5.2")
def test_feed_forward_treats_each_position_alone():
    module, x = scrambled(FeedForward(8, 16)), numbers(2, 5, 8)
    apart = torch.stack([output_of(module, x[:, t]) for t in range(5)], dim=1)
    same(output_of(module, x), apart, "positions do not mix here: that is the work of attention.")


# --------------------------------------------------------------------------------------------- 5.3 EncoderLayer.forward

REAL = padding_mask(torch.tensor([6, 3]))


def silent(module: nn.Module, *names: str) -> nn.Module:
    """The layer with these sublayers saying 0 whatever they hear."""
    with torch.no_grad():
        for name in names:
            last = {"attention": "self_attention.out_proj", "feed_forward": "feed_forward.linear2"}[name]
            module.get_submodule(last).weight.zero_()
            module.get_submodule(last).bias.zero_()
    return module


@pytest.mark.exercise("5.3")
def test_what_a_layer_returns():
    x = numbers(2, 6, 8)
    output, weights = pair_of(layer(library)(x, REAL), "the output, and attention weights or None")
    same(output.shape, (2, 6, 8), "a layer keeps the shape, so that layers can be stacked.")
    expect(
        weights is None, "None for the weights", type(weights).__name__, "nobody asked for them: need_weights=False."
    )
    _, weights = layer(library)(x, REAL, need_weights=True)
    expect(isinstance(weights, Tensor), "the attention weights", type(weights).__name__, "need_weights=True asks.")
    same(weights.shape, (2, 2, 6, 6), "weights are (batch, heads, queries, keys).")


@pytest.mark.exercise("5.3")
def test_input_passes_where_sublayers_are_silent():
    x = numbers(2, 6, 8)
    same(
        output_of(silent(layer(library), "attention", "feed_forward"), x, REAL),
        x,
        "both sublayers say 0 here, and x + 0 + 0 is x: the residual path carries x itself, not norm(x), and no norm "
        "stands "
        "on it. This path is what makes deep stacks trainable.",
    )


@pytest.mark.exercise("5.3")
def test_feed_forward_half():
    x, module = numbers(2, 6, 8), silent(layer(library), "attention")
    same(
        output_of(module, x, REAL),
        x + module.feed_forward(module.norm2(x)),
        "attention says 0 here; the second half is x + feed_forward(norm2(x)). The two norms have weights of their "
        "own, so "
        "that norm1 cannot stand in for norm2.",
    )


@pytest.mark.exercise("5.3")
def test_attention_half():
    x, module = numbers(1, 6, 8), silent(layer(library), "feed_forward")
    normed = module.norm1(x)
    same(
        output_of(module, x, torch.ones(1, 6, dtype=torch.bool)),
        x + module.self_attention(normed, normed, normed)[0],
        "the feed-forward block says 0 here, and nothing is padding; the first half is x + self_attention of "
        "norm1(x), which is "
        "query, key and value at once.",
    )


@pytest.mark.exercise("5.3")
def test_padding_is_never_listened_to():
    module, x = layer(library), numbers(2, 6, 8)
    _, weights = module(x, REAL, need_weights=True)
    same(
        weights[1].sum(dim=(0, 1)) > 0,
        [True, True, True, False, False, False],
        "of the second utterance frames 0 to 2 are real. Weights that fall on the keys 3 to 5 listen to padding. "
        "The mask is True for keys that may be attended, (batch, 1, keys): chapter 03's key_mask makes it.",
    )
    same(
        output_of(module, x, REAL)[1, :3],
        output_of(module, x[1:, :3], REAL[1:, :3])[0],
        "an utterance must come out the same with and without padding behind it.",
    )


@pytest.mark.exercise("5.3")
def test_second_half_hears_the_first():
    module, x = layer(library), numbers(2, 6, 8)
    normed = module.norm1(x)
    middle = x + module.self_attention(normed, normed, normed, REAL[:, None, :])[0]
    same(
        output_of(module, x, REAL)[REAL],
        (middle + module.feed_forward(module.norm2(middle)))[REAL],
        "the feed-forward block works on the sum of x and what attention found, and adds its result to that sum.",
    )


@pytest.mark.exercise("5.3")
def test_dropout_on_both_sublayers():
    x, real = numbers(1, 40, 8), torch.ones(1, 40, dtype=torch.bool)
    torch.manual_seed(1)
    for quiet, loud in (("feed_forward", "self-attention"), ("attention", "the feed-forward block")):
        module = silent(layer(library, dropout=0.5), quiet)
        module.feed_forward.dropout.p = 0.0
        difference = output_of(module.train(), x, real) - x
        share = float((difference == 0).float().mean())
        expect(
            0.35 < share < 0.65,
            f"about half of what {loud} adds to be dropped, with dropout 0.5 in training mode",
            f"{100 * share:.0f} % dropped",
            "each half is x + dropout(sublayer(norm(x))): dropout acts on what is added, never on x.",
        )
        same(
            output_of(module.eval(), x, real),
            output_of(module.eval(), x, real),
            "in evaluation mode nothing is dropped, and the same input gives the same output.",
        )


# -------------------------------------------------------------------------------------------------- 5.4 Encoder.forward


def three_of(returned: object) -> tuple:
    right = isinstance(returned, tuple) and len(returned) == 3
    expect(right, "encoder_out, its mask and the attention maps", type(returned).__name__, "three things are unpacked.")
    assert isinstance(returned, tuple)
    return returned


@pytest.mark.exercise("5.4")
def test_what_the_encoder_returns():
    out, mask, maps = three_of(encoder(library)(*utterances(20, 9)))
    same(out.shape, (2, 5, 8), "20 frames with factor 4 make 5 encoder frames of width d_model.")
    expect(mask.dtype == torch.bool, "a boolean mask", mask.dtype, "masks are boolean in this course.")
    same(
        mask,
        [[True] * 5, [True] * 3 + [False] * 2],
        "9 frames make ceil(9 / 4) = 3 encoder frames. The mask is that of the *subsampled* lengths: decoder and CTC "
        "use it.",
    )
    expect(maps == {}, "no attention maps unless asked for", f"{list(maps)}", "they cost memory and time.")


@pytest.mark.exercise("5.4")
def test_encoder_is_the_chain_of_its_parts():
    module = encoder(library)
    features, lengths = utterances(20, 20)
    x, _ = module.subsampling(features, lengths)
    x = module.positional(x)
    for part in module.layers:
        x, _ = part(x, torch.ones(2, 5, dtype=torch.bool))
    why = (
        "nothing is padding here: subsampling, positions (once), each layer on the output of the one before it, and "
        "the last norm."
    )
    same(output_of(module, features, lengths), module.norm(x), why)


@pytest.mark.exercise("5.4")
def test_encoder_output_is_normalised():
    module = encoder(library)
    with torch.no_grad():
        module.norm.weight.fill_(1.0)
        module.norm.bias.zero_()
    out = output_of(module, *utterances(20))
    same(
        torch.stack([out.mean(-1), out.std(-1, correction=0)]),
        torch.stack([torch.zeros(1, 5), torch.ones(1, 5)]),
        "each frame of encoder_out has mean 0 and variance 1 when the last norm has weights 1 and bias 0. In a "
        "pre-norm stack "
        "the residual stream itself is never normalised, so `self.norm` must stand at the end.",
        tolerance=1e-3,
    )


@pytest.mark.exercise("5.4")
def test_an_utterance_is_the_same_in_any_company():
    module = encoder(library)
    alone, mask, _ = three_of(module(*utterances(13)))
    expect(bool(mask.all()), "only True: nothing is padding", mask.tolist(), "13 frames make 4 encoder frames.")
    together, mask, _ = three_of(module(*utterances(30, 13, 1, time=37)))
    same(mask.sum(1), [8, 4, 1], "real encoder frames: 30, 13 and 1 over 4, rounded up.")
    same(
        together[1, :4],
        alone[0],
        "an utterance must come out the same alone and in a batch. Every layer needs the mask of the subsampled "
        "lengths.",
    )


@pytest.mark.exercise("5.4")
def test_attention_maps_have_names():
    _, _, maps = three_of(encoder(library, encoder_layers=3)(*utterances(20, 9), need_weights=True))
    names = [f"encoder.{index}.self_attention" for index in range(3)]
    expect(isinstance(maps, dict) and list(maps) == names, f"{names}", f"{list(maps)}", "plots ask for maps by name.")
    for name in names:
        same(maps[name].shape, (2, 2, 5, 5), f"{name}: (batch, heads, frames, frames).")
        same(
            maps[name][1, :, :, 3:], torch.zeros(2, 5, 2), f"{name}: no weight on the padding of the second utterance."
        )


@pytest.mark.exercise("5.4")
def test_dropout_before_the_first_layer():
    module = encoder(library, dropout=0.5)
    module.layers = nn.ModuleList()
    torch.manual_seed(1)
    features, lengths = utterances(200)
    expected = module.norm(module.positional(module.subsampling(features, lengths)[0]))
    same(output_of(module, features, lengths), expected, "without layers, and in evaluation mode, nothing is dropped.")
    with torch.no_grad():
        module.norm.weight.fill_(1.0)
        module.norm.bias.zero_()
    out = output_of(module.train(), features, lengths)
    # What was dropped is 0 before the norm: in each frame many features then share one value.
    share = float((out == out.mode(dim=-1, keepdim=True).values).float().mean())
    expect(
        share > 0.3,
        "about half of the numbers that go into the first layer to be dropped, with dropout 0.5 in training mode",
        "(nearly) none of them dropped",
        "`self.dropout` acts once on the subsampled features after positions were added.",
    )


# ----------------------------------------------------------------------------------------------- 5.5 ConvModule.forward


def conv_module(m, kernel: int = 3, dropout: float = 0.0):
    return scrambled(m.ConvModule(4, kernel, dropout))


@pytest.mark.exercise("5.5")
def test_conv_module_by_its_parts():
    module, x = conv_module(library), numbers(2, 7, 4)
    real = torch.ones(2, 7, dtype=torch.bool)
    signal, gate = module.expand(x).chunk(2, dim=-1)
    gated = signal * gate.sigmoid()
    neighbours = torch.cat([torch.zeros(2, 1, 4), gated, torch.zeros(2, 1, 4)], dim=1)
    kernel = module.depthwise.weight[:, 0]  # (d_model, 3)
    mixed = sum(neighbours[:, k : k + 7] * kernel[:, k] for k in range(3)) + module.depthwise.bias
    normed = module.norm(mixed)
    same(
        output_of(module, x, real),
        module.project(normed * normed.sigmoid()),
        "nothing is padding here: `expand`; the first half times the sigmoid of the second; the convolution over "
        "*time*, each channel "
        "for itself; `norm`; SiLU, which is x * sigmoid(x); `project`.",
    )


@pytest.mark.exercise("5.5")
def test_conv_module_sees_as_far_as_its_kernel():
    module, x, real = conv_module(library, 5), numbers(1, 11, 4), torch.ones(1, 11, dtype=torch.bool)
    changed = x.clone()
    changed[0, 5] += 1.0
    touched = (output_of(module, x, real) - output_of(module, changed, real)).abs().sum(-1)[0] > 1e-6
    same(touched.nonzero()[:, 0], [3, 4, 5, 6, 7], "with a kernel of 5, frame 5 reaches two frames to either side.")


@pytest.mark.exercise("5.5")
def test_conv_module_hears_no_padding():
    module, x = conv_module(library), numbers(2, 6, 4)
    same(
        output_of(module, x, REAL)[1, :3],
        output_of(module, x[1:, :3], REAL[1:, :3])[0],
        "the kernel reads one frame beyond the end of the second utterance: padding must be 0 when the convolution "
        "reads it. "
        "Masking x itself is not enough, because `expand` adds its bias.",
    )


@pytest.mark.exercise("5.5")
def test_conv_module_drops_in_training_only():
    module, x, real = conv_module(library, dropout=0.5), numbers(1, 60, 4), torch.ones(1, 60, dtype=torch.bool)
    torch.manual_seed(1)
    share = float((output_of(module.train(), x, real) == 0).float().mean())
    expect(0.3 < share < 0.7, "half of the output dropped with 0.5", f"{100 * share:.0f} %", "dropout comes last.")
    expect(bool((output_of(module.eval(), x, real) != 0).all()), "nothing dropped in evaluation", "zeros", "see 5.2.")


# ------------------------------------------------------------------------------------------ 5.6 PoolSubsampling.forward


@pytest.mark.exercise("5.6")
def test_pooling_by_hand():
    module = PoolSubsampling(1, 1, 2, 1).eval()
    with torch.no_grad():
        module.out.weight.fill_(1.0)
        module.out.bias.fill_(10.0)
    features = torch.tensor([[[2.0], [4], [-20], [6], [8]]])
    out, lengths = pair_of(module(features, torch.tensor([5])), "features and lengths")
    same(
        out,
        [[[13.0], [8], [18]]],
        "`out` adds 10 here, and the ReLU follows: 12, 14, 0, 16, 18. Means of pairs: (12 + 14) / 2, (0 + 16) / 2, "
        "and the last frame "
        "alone: 18 / 1, not 18 / 2.",
    )
    same(lengths, [3], "five frames make three windows of two, the last one incomplete.")


@pytest.mark.exercise("5.6")
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pooled_lengths(factor):
    lengths = [1, 2, 3, 4, 5, 8, 9, 17]
    out, shorter = pair_of(pooling(library, factor)(*utterances(*lengths)), "features and lengths")
    expected = [-(-length // factor) for length in lengths]
    same(shorter, expected, f"lengths {lengths} over {factor}, rounded up: the last, incomplete window counts.")
    same(out.shape, (len(lengths), max(expected), 8), "features come out as (batch, time / factor, d_model).")


@pytest.mark.exercise("5.6")
def test_pooled_padding_does_not_count():
    module = pooling(library)
    for length in (1, 5, 8, 10):
        alone = output_of(module, *utterances(length))[0]
        together = output_of(module, *utterances(length, 17, time=21))[0, : len(alone)]
        same(
            together,
            alone,
            f"an utterance of {length} frames must come out the same alone and in a batch. Padding is no longer 0 "
            "once the bias of `out` "
            "is added: mask it, and divide by the number of *real* frames of the window.",
        )


@pytest.mark.exercise("5.6")
def test_pooled_padding_is_no_nan():
    out = output_of(pooling(library), *utterances(3, 16))
    expect(
        bool(torch.isfinite(out).all()),
        "finite numbers everywhere",
        "NaN or infinity",
        "a window without a single real frame has a mean of 0 / 0: divide by 1 there. One NaN in the padding makes "
        "all gradients NaN.",
    )


# --------------------------------------------------------------------------------------------------------------- probes


def _trace(module, *inputs, seed=1):
    """Whether dropout acts, not what it drops: that depends on how the random numbers are drawn."""
    torch.manual_seed(seed)
    runs = [module(*inputs) for _ in range(2)]
    first, second = (run[0] if isinstance(run, tuple) else run for run in runs)
    return "the same twice" if torch.equal(first, second) else "different each time"


def probe_conv_subsampling(m):
    yield m.halve(torch.tensor([1, 2, 3, 8, 9]))
    for factor in (2, 4):
        for lengths, time in (((12, 12), 0), ((9, 16), 16)):
            out, shorter = subsampling(m, factor)(*utterances(*lengths, time=time))
            yield shorter
            yield out[:, :2]
            yield out[0, : -(-lengths[0] // factor)]


def probe_feed_forward(m):
    x = numbers(2, 5, 8)
    yield scrambled(m.FeedForward(8, 16))(x)
    dropping = scrambled(m.FeedForward(8, 16, dropout=0.5))
    yield _trace(dropping.train(), x)
    yield _trace(dropping.eval(), x)
    # All weight on the biases: whatever linear2 does not say was added or dropped behind it.
    with torch.no_grad():
        dropping.linear2.weight.zero_()
    yield _trace(dropping.train(), x)


def probe_layer(m):
    x = numbers(2, 6, 8)
    for real in (torch.ones(2, 6, dtype=torch.bool), REAL):
        output, weights = layer(m)(x, real, need_weights=True)
        yield output[0]
        yield output[1, :3]
        yield "no weights" if weights is None else weights
    for quiet in ("attention", "feed_forward"):
        dropping = silent(layer(m, dropout=0.5), quiet)
        dropping.feed_forward.dropout.p = 0.0
        yield _trace(dropping.train(), x, REAL)
        yield _trace(dropping.eval(), x, REAL)


def probe_encoder(m):
    for lengths in ((20, 20), (20, 9)):
        out, mask, maps = encoder(m)(*utterances(*lengths), need_weights=True)
        yield mask
        yield out[0]
        yield out[1, :3]
        yield " ".join(maps)
        yield from maps.values()
    yield len(encoder(m)(*utterances(8))[2])
    dropping = encoder(m, dropout=0.5)
    dropping.layers = nn.ModuleList()
    yield _trace(dropping.train(), *utterances(20))
    yield _trace(dropping.eval(), *utterances(20))


def probe_pool(m):
    for lengths, time in (((12, 12), 0), ((9, 16), 0), ((3, 6), 6)):
        out, shorter = pooling(m)(*utterances(*lengths, time=time))
        yield shorter
        yield list(out.shape)
        yield out[:, :1]
        yield out[0, : -(-lengths[0] // 4)]
        yield "finite" if torch.isfinite(out).all() else "not finite"


def probe_conv_module(m):
    x = numbers(2, 6, 4)
    for real in (torch.ones(2, 6, dtype=torch.bool), REAL):
        output = conv_module(m)(x, real)
        yield output[1, :3]
        yield output
    dropping = conv_module(m, dropout=0.5)
    yield _trace(dropping.train(), x, REAL)
    yield _trace(dropping.eval(), x, REAL)


PROBES = {
    "5.1": probe_conv_subsampling,
    "5.2": probe_feed_forward,
    "5.3": probe_layer,
    "5.4": probe_encoder,
    "5.5": probe_conv_module,
    "5.6": probe_pool,
}
