"""The encoder: lengths, padding that never matters, and layers that are PyTorch's with other names."""

import math

import pytest
import torch
from model_checks import assert_same, gradients, model_config
from transplant import from_torch, torch_encoder_layer

from asr_tutorial.encoder import SUBSAMPLING, ConvEncoderLayer, ConvModule, Encoder, EncoderLayer
from asr_tutorial.masks import padding_mask, to_torch_key_padding_mask

N_MELS = 8
each_kind = pytest.mark.parametrize("kind", SUBSAMPLING)
each_factor = pytest.mark.parametrize("factor", [2, 4, 8])


def subsampling(kind: str, factor: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return SUBSAMPLING[kind](N_MELS, 16, factor, 4).eval()


def batch(lengths: list[int], time: int | None = None) -> torch.Tensor:
    """Random features, zero behind each length; an utterance has the same values in any batch: (batch, time, mels)."""
    features = torch.zeros(len(lengths), time or max(lengths), N_MELS)
    for row, length in enumerate(lengths):
        features[row, :length] = torch.randn(length, N_MELS, generator=torch.Generator().manual_seed(length))
    return features


@each_kind
@each_factor
class TestSubsampling:
    def test_lengths_are_rounded_up(self, kind, factor):
        lengths = list(range(1, 2 * factor + 2))
        out, out_lengths = subsampling(kind, factor)(batch(lengths), torch.tensor(lengths))
        expected = [math.ceil(length / factor) for length in lengths]
        assert out_lengths.tolist() == expected, (
            f"{kind}: ceil(length / {factor}) keeps the last, incomplete group of frames; expected {expected} for "
            f"lengths {lengths}, got {out_lengths.tolist()}"
        )
        assert out.shape == (len(lengths), max(expected), 16), (
            f"(batch, time / factor, d_model), got {tuple(out.shape)}"
        )

    @pytest.mark.parametrize("length", range(1, 10))
    def test_padding_and_company_change_nothing(self, kind, factor, length):
        module = subsampling(kind, factor)
        real = math.ceil(length / factor)
        alone, _ = module(batch([length]), torch.tensor([length]))
        for lengths, time in (([length], 24), ([21, length], 21), ([length, 5], 32)):
            out, out_lengths = module(batch(lengths, time), torch.tensor(lengths))
            row = lengths.index(length)
            assert out_lengths[row] == real
            assert_same(
                out[row, :real],
                alone[0],
                f"{kind}, factor {factor}: {length} frames in a batch of {lengths} padded to {time} must stay the same",
            )

    def test_every_frame_is_heard(self, kind, factor):
        features = batch([2 * factor + 1]).requires_grad_()
        out, _ = subsampling(kind, factor)(features, torch.tensor([2 * factor + 1]))
        out.square().sum().backward()
        assert (features.grad.abs().sum(-1) > 0).all(), "no frame may be lost, the last incomplete group included"


def test_pooling_takes_the_mean_of_real_frames():
    """Six equal frames, pooled by four: the last group holds two real ones, whose mean is the same frame."""
    out, _ = subsampling("pool", 4)(torch.ones(1, 6, N_MELS), torch.tensor([6]))
    assert_same(out[0, 1], out[0, 0], "zeros of the padding must not pull the mean of the last group down")


class TestLayer:
    lengths = torch.tensor([6, 3])

    def test_same_as_pytorch(self):
        torch.manual_seed(0)
        ours = EncoderLayer(model_config())
        theirs = torch_encoder_layer(ours)
        padding = padding_mask(self.lengths)
        x = torch.randn(2, 6, 16)
        our_input, their_input = x.clone().requires_grad_(), x.clone().requires_grad_()
        output, weights = ours(our_input, padding)
        expected = theirs(their_input, src_key_padding_mask=to_torch_key_padding_mask(padding))
        assert weights is None, "weights are computed only where they are asked for"
        assert_same(output[padding], expected[padding], "nn.TransformerEncoderLayer(norm_first=True), same weights")

        direction = torch.randn(2, 6, 16) * padding[..., None]
        output.backward(direction)
        expected.backward(direction)
        assert_same(our_input.grad, their_input.grad, "gradient of the loss by the input")
        their_gradients = from_torch(gradients(theirs))
        for name, gradient in gradients(ours).items():
            assert_same(gradient, their_gradients[name], f"gradient of the loss by {name}")

    @pytest.mark.parametrize("conv_kernel", [0, 1, 3, 15])
    def test_padding_changes_nothing(self, conv_kernel):
        torch.manual_seed(0)
        layer_type = ConvEncoderLayer if conv_kernel else EncoderLayer
        layer = layer_type(model_config(conv_kernel=conv_kernel)).eval()
        padding = padding_mask(self.lengths)
        x = torch.randn(2, 6, 16)
        changed = x.masked_fill(~padding[..., None], 50.0)
        one, other = layer(x, padding)[0], layer(changed, padding)[0]
        assert_same(one[padding], other[padding], "real frames must not see what lies in the padding")
        alone, _ = layer(x[1:, :3], padding[1:, :3])
        assert_same(one[1, :3], alone[0], "an utterance comes out the same without its padding")

    def test_attention_map(self):
        layer, padding = EncoderLayer(model_config()), padding_mask(self.lengths)
        _, weights = layer(torch.randn(2, 6, 16), padding, need_weights=True)
        assert weights.shape == (2, 2, 6, 6), f"(batch, heads, queries, keys), got {tuple(weights.shape)}"
        assert (weights[1, :, :, 3:] == 0).all(), "no weight on padding"

    def test_residual_path_carries_the_input(self):
        layer = ConvEncoderLayer(model_config(conv_kernel=3))
        for projection in (layer.self_attention.out_proj, layer.conv.project, layer.feed_forward.linear2):
            torch.nn.init.zeros_(projection.weight)
            torch.nn.init.zeros_(projection.bias)
        x = torch.randn(2, 6, 16)
        output, _ = layer(x, padding_mask(self.lengths))
        assert torch.equal(output, x), "x + sublayer(norm(x)): where sublayers say nothing the input passes unchanged"


def test_conv_module_looks_as_far_as_its_kernel():
    torch.manual_seed(0)
    conv, x = ConvModule(16, kernel_size=5).eval(), torch.randn(1, 11, 16)
    padding = torch.ones(1, 11, dtype=torch.bool)
    changed = x.clone()
    changed[0, 5] += 1.0
    touched = (conv(x, padding) - conv(changed, padding)).abs().sum(-1)[0] > 1e-6
    assert touched.nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7], "a kernel of 5 sees two frames to either side"


class TestEncoder:
    @each_kind
    @pytest.mark.parametrize("conv_kernel", [0, 3])
    def test_padding_and_company_change_nothing(self, kind, conv_kernel):
        torch.manual_seed(0)
        encoder = Encoder(model_config(subsampling=kind, conv_kernel=conv_kernel, encoder_layers=2), N_MELS).eval()
        alone, mask, _ = encoder(batch([13]), torch.tensor([13]))
        assert mask.all()
        together, mask, _ = encoder(batch([30, 13, 1], 37), torch.tensor([30, 13, 1]))
        assert mask.sum(1).tolist() == [8, 4, 1], f"real encoder frames: ceil of 30, 13, 1 over 4, got {mask.sum(1)}"
        assert_same(together[1][mask[1]], alone[0], "an utterance comes out the same alone and in any batch")

    def test_maps_are_named_by_layer(self):
        encoder = Encoder(model_config(encoder_layers=2), N_MELS)
        features, lengths = batch([20, 9]), torch.tensor([20, 9])
        _, _, maps = encoder(features, lengths, need_weights=True)
        assert list(maps) == ["encoder.0.self_attention", "encoder.1.self_attention"]
        assert all(weights.shape == (2, 2, 5, 5) for weights in maps.values()), "(batch, heads, frames, frames)"
        assert encoder(features, lengths)[2] == {}, "no maps unless asked for"

    def test_order_matters_through_positions(self):
        """Without positions an encoder without convolutions gives permuted frames for permuted input."""
        torch.manual_seed(0)
        features, lengths = batch([16]), torch.tensor([16])
        backwards = features.view(1, 4, 4, N_MELS).flip(1).reshape(1, 16, N_MELS)  # groups of 4 frames, reversed
        for kind, blind in (("none", True), ("sinusoidal", False), ("learned", False)):
            encoder = Encoder(model_config(subsampling="pool", positional=kind), N_MELS).eval()
            forward, back = encoder(features, lengths)[0], encoder(backwards, lengths)[0].flip(1)
            assert torch.allclose(forward, back, atol=1e-5) == blind, f"{kind}: attention alone does not know order"

    @pytest.mark.parametrize("shape", [(2, 20, 7), (20, 8)])
    def test_wrong_features_are_named(self, shape):
        with pytest.raises(ValueError, match=rf"\(batch, time, 8 mels\), got \({', '.join(map(str, shape))}\)"):
            Encoder(model_config(), N_MELS)(torch.zeros(shape), torch.tensor([20, 20]))

    def test_too_long_an_utterance_is_refused(self):
        with pytest.raises(ValueError, match=r"position 60 .*60 positions"):
            Encoder(model_config(), N_MELS)(torch.zeros(1, 244, N_MELS), torch.tensor([244]))
