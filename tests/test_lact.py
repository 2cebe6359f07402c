"""Large-chunk test-time training: what the memory computes, what must not change it, and the model made of it."""

import re
from dataclasses import replace

import pytest
import torch
from model_checks import VOCAB_SIZE, assert_same, small_config, small_model
from tiny import sound_corpus
from tiny_training import TEXTS, read_metrics, training_config
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from asr_tutorial.attention import scaled_dot_product_attention
from asr_tutorial.checkpoint import load_checkpoint, save_checkpoint
from asr_tutorial.config import CONFIGS, Config, ModelConfig, from_dict, load_config
from asr_tutorial.encoder import ConvSubsampling, EncoderLayer
from asr_tutorial.errors import ConfigError
from asr_tutorial.lact import (
    AudioEncoder,
    ConvLactLayer,
    FastWeights,
    LactLayer,
    Memory,
    apply_then_update,
    chunk_update,
    fast_gradient,
    l2_norm,
    orthogonalise,
    row_norms,
    swiglu,
    update_then_apply,
    window_attention,
)
from asr_tutorial.lact.model import LactTransformer
from asr_tutorial.masks import key_mask, padding_mask
from asr_tutorial.model import build_model, count_parameters
from asr_tutorial.progressive import grow, make_identity, set_dropout
from asr_tutorial.recognizer import load
from asr_tutorial.tokenizer import CharTokenizer
from asr_tutorial.training import train
from asr_tutorial.training.diagnose import examine
from asr_tutorial.training.initialise import from_checkpoint
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.step import Stepper

BATCH, HEADS, FRAMES, D_HEAD, HIDDEN, CHUNK = 2, 2, 12, 6, 10, 4
each_order = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
each_muon = pytest.mark.parametrize("muon", [False, True], ids=["plain", "muon"])
each_momentum = pytest.mark.parametrize("momentum", [0.0, 0.8], ids=["", "momentum"])


def config(**lact: object) -> ModelConfig:
    """Width 16 in two memories, chunks of 4 frames, a window of 3 to either side."""
    values = {"heads": 2, "chunk": CHUNK, "window": 3, "base_lr": 0.5, "audio_dropout": 0.0, **lact}
    return small_config(architecture="lact", lact=values).model


def weights_of(seed: int = 0, dtype: torch.dtype = torch.float32) -> FastWeights:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((HIDDEN, D_HEAD), (D_HEAD, HIDDEN), (HIDDEN, D_HEAD))
    return FastWeights(*(torch.randn(1, HEADS, *shape, generator=generator, dtype=dtype) for shape in shapes))


def rows(seed: int, frames: int = FRAMES, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, HEADS, frames, D_HEAD, generator=generator, dtype=dtype)


def rates_of(frames: int = FRAMES, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(3, BATCH, HEADS, frames, generator=generator, dtype=dtype)


def read(causal: bool, muon: bool = False, momentum: float | None = None, order: list[int] | None = None, **changes):
    """An utterance of three chunks, read in the given order of its chunks; answers in the usual one."""
    given = {"queries": rows(1), "keys": rows(2), "values": rows(3), "rates": rates_of(), **changes}
    chunks = FRAMES // CHUNK
    places = torch.arange(FRAMES).view(chunks, CHUNK)[order or list(range(chunks))].flatten()
    moved = {name: x[..., places] if name == "rates" else x[..., places, :] for name, x in given.items()}
    kept = None if momentum is None else torch.full((BATCH, HEADS, chunks), momentum)
    function = apply_then_update if causal else update_then_apply
    answers = function(weights_of(), **moved, momentum=kept, chunk=CHUNK, muon=muon)
    return answers[..., places.argsort(), :]


# ------------------------------------------------------------------------------------------------ the fast weights


def test_the_network_is_a_swiglu():
    weights, x = weights_of(), rows(1)
    one = weights.w1[0, 1] @ (F.silu(weights.w0[0, 1] @ x[0, 1, 5]) * (weights.w2[0, 1] @ x[0, 1, 5]))
    assert_same(swiglu(weights, x)[0, 1, 5], one, "W1 (silu(W0 x) * W2 x)")


def test_the_gradient_by_hand_is_autograds():
    weights = FastWeights(*(w.expand(BATCH, -1, -1, -1).requires_grad_() for w in weights_of(dtype=torch.float64)))
    keys, values, rates = rows(2, dtype=torch.float64), rows(3, dtype=torch.float64), rates_of(dtype=torch.float64)
    ours = fast_gradient(weights, keys, values, rates)
    loss = -(swiglu(weights, keys) * values).sum(-1)  # (batch, heads, frames)
    for index, name in enumerate(FastWeights._fields):
        expected = -torch.autograd.grad((loss * rates[index]).sum(), weights[index], retain_graph=True)[0]
        assert_same(ours[index], expected, f"rate * negative gradient of -<f(k), v> by {name}", 1e-10)


def test_training_can_differentiate_through_the_step():
    """Keys, values, rates and first weights all get the gradient that finite differences say."""
    given = [rows(seed, 3, torch.float64)[:1, :1] for seed in (1, 2, 3)]
    rates, weights = rates_of(3, torch.float64)[:, :1, :1], [w[:, :1] for w in weights_of(dtype=torch.float64)]
    inputs = [x.clone().requires_grad_() for x in (*given, rates, *weights)]

    def answer(queries, keys, values, rates, *weights):
        return apply_then_update(FastWeights(*weights), queries, keys, values, rates, None, chunk=2, muon=False)

    assert torch.autograd.gradcheck(answer, inputs)


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (9, 5)])
def test_muon_makes_singular_values_about_one(shape):
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    got = orthogonalise(matrix)
    inner = u.mT @ got @ vt.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert_same(inner, torch.diag_embed(values), "the singular vectors are kept", 1e-4)
    assert values.min() > 0.3
    assert values.max() < 1.3
    assert_same(orthogonalise(100 * matrix), got, "its size plays no part", 1e-4)
    assert not orthogonalise(torch.zeros(4, 4)).any()


class TestChunkUpdate:
    def test_momentum_then_step_then_rows(self):
        weights, first, second = weights_of(0), weights_of(1), weights_of(2)
        norms, kept = row_norms(weights), torch.full((1, HEADS), 0.5)
        weights, velocity = chunk_update(weights, first, norms, None, kept, muon=False)
        assert all(map(torch.equal, velocity, first)), "the first chunk has no velocity to keep"
        after, velocity = chunk_update(weights, second, norms, velocity, kept, muon=False)
        assert_same(velocity.w1, second.w1 + 0.5 * first.w1, "velocity <- gradient + momentum * velocity")
        moved = weights.w1 + velocity.w1
        expected = moved / moved.norm(dim=-1, keepdim=True) * norms.w1
        assert_same(after.w1, expected, "the velocity is added, then each row gets its length back")

    @each_muon
    def test_rows_keep_their_lengths(self, muon):
        weights = weights_of()
        norms, velocity = row_norms(weights), None
        for seed in range(1, 6):
            weights, velocity = chunk_update(weights, weights_of(seed), norms, velocity, torch.ones(1, HEADS), muon)
        for name, now, before in zip(FastWeights._fields, row_norms(weights), norms, strict=True):
            assert_same(now, before, f"rows of {name} after five steps")

    def test_momentum_gathers_gradients_not_orthogonal_steps(self):
        norms, gradient = row_norms(weights_of()), weights_of(1)
        _, velocity = chunk_update(weights_of(), gradient, norms, None, torch.ones(1, HEADS), muon=True)
        assert all(map(torch.equal, velocity, gradient))


# ------------------------------------------------------------------------------------------------ the two orders


@each_order
@each_muon
@pytest.mark.parametrize("momentum", [None, 0.8])
def test_a_rate_of_zero_is_the_static_network(causal, muon, momentum):
    answers = read(causal, muon, momentum, rates=torch.zeros(3, BATCH, HEADS, FRAMES))
    assert_same(answers, swiglu(weights_of(), rows(1)), "nothing is learnt")


@each_order
def test_what_is_learnt_is_remembered(causal):
    """Asked the keys of the first chunk again, the memory answers more like their values than before."""
    keys = F.normalize(rows(2), dim=-1)
    queries = torch.cat([keys[:, :, :CHUNK]] * 3, dim=2)
    values = rows(3)
    answers = read(causal, keys=keys, queries=queries, rates=torch.full((3, BATCH, HEADS, FRAMES), 0.1))
    target = values[:, :, :CHUNK]
    before = (swiglu(weights_of(), keys[:, :, :CHUNK]) * target).sum()
    assert (answers[:, :, CHUNK : 2 * CHUNK] * target).sum() > before


@each_muon
def test_bidirectional_without_momentum_has_no_order(muon):
    usual, other = read(False, muon), read(False, muon, order=[2, 0, 1])
    assert_same(other, usual, "all chunks, then one step: their order plays no part", 1e-4)
    whole = update_then_apply(weights_of(), rows(1), rows(2), rows(3), rates_of(), None, FRAMES, muon)
    assert_same(whole, usual, "nor does their size", 1e-4)


@pytest.mark.parametrize(("causal", "momentum"), [(False, 0.5), (True, None), (True, 0.5)])
def test_otherwise_the_order_counts(causal, momentum):
    usual, other = read(causal, False, momentum), read(causal, False, momentum, order=[2, 0, 1])
    assert (usual - other).abs().max() > 1e-3


def test_bidirectional_momentum_is_that_of_chunk_by_chunk():
    first, velocity = weights_of(), None
    for number in range(3):
        piece = slice(number * CHUNK, (number + 1) * CHUNK)
        gradient = fast_gradient(first, rows(2)[:, :, piece], rows(3)[:, :, piece], rates_of()[..., piece])
        _, velocity = chunk_update(first, gradient, row_norms(first), velocity, torch.full((BATCH, HEADS), 0.5), False)
    weights, _ = chunk_update(first, velocity, row_norms(first), muon=False)
    assert_same(read(False, False, 0.5), swiglu(weights, rows(1)), "velocity after the last chunk, one step", 1e-4)


@each_muon
@pytest.mark.parametrize("momentum", [None, 0.5])
def test_causal_answers_know_the_chunks_before_alone(muon, momentum):
    usual = read(True, muon, momentum)
    assert_same(usual[:, :, :CHUNK], swiglu(weights_of(), rows(1))[:, :, :CHUNK], "nothing came before the first chunk")
    for name in ("keys", "values"):
        changed = {"keys": rows(2), "values": rows(3)}
        changed[name][:, :, CHUNK] += 1.0  # the first frame of the second chunk
        other = read(True, muon, momentum, **changed)
        assert torch.equal(other[:, :, : 2 * CHUNK], usual[:, :, : 2 * CHUNK]), "applied first, then updated"
        assert (other[:, :, 2 * CHUNK :] != usual[:, :, 2 * CHUNK :]).any(), "the third chunk has learnt from it"


@each_muon
@pytest.mark.parametrize("chunk", [FRAMES, FRAMES + 100])
def test_one_causal_chunk_is_a_static_network(chunk, muon):
    """What an utterance of one chunk would teach comes too late for it: it is read by a feed-forward network."""
    answers = apply_then_update(weights_of(), rows(1), rows(2), rows(3), rates_of(), None, chunk, muon)
    assert_same(answers, swiglu(weights_of(), rows(1)), "the first weights answer everything")


# ------------------------------------------------------------------------------------------------ the modules


class TestRates:
    padding = padding_mask(torch.tensor([9, 4]))

    def test_they_begin_at_the_base_rate(self):
        for base in (1e-4, 0.01, 2.0):
            memory = Memory(config(base_lr=base))
            torch.nn.init.zeros_(memory.rate_head.weight)
            rates = memory.learning_rates(torch.randn(2, 9, 16), self.padding)
            assert rates.shape == (3, 2, 2, 9), "(matrix, batch, heads, frames)"
            assert_same(rates[:, 0] / base, torch.ones(3, 2, 9), "softplus(0 + inverse softplus(base)) = base", 1e-4)

    def test_they_are_positive_differ_and_are_zero_on_padding(self):
        rates = Memory(config()).learning_rates(torch.randn(2, 9, 16), self.padding)
        real = self.padding[:, None].expand_as(rates)  # (3, batch, heads, frames)
        assert (rates[real] > 0).all()
        assert (rates[~real] == 0).all()
        assert rates[:, 0].flatten(1).std(dim=1).min() > 0, "each frame has its own"
        assert not torch.equal(rates[0], rates[1]), "each matrix has its own"

    def test_they_are_fp32_under_autocast(self):
        memory, x = Memory(config()), torch.randn(2, 9, 16)
        expected = memory(x, x, x, x, self.padding)
        with torch.autocast("cpu", torch.bfloat16):
            got = memory(x, x, x, x, self.padding)
        assert got.dtype == torch.float32
        assert torch.equal(got, expected), "nothing inside is computed in 16 bits"

    def test_momentum_is_a_mean_over_real_frames(self):
        memory, x = Memory(config(momentum=0.8)), torch.randn(2, 9, 16)
        kept = memory.chunk_momentum(x, self.padding)
        assert kept.shape == (2, 2, 3), "(batch, heads, chunks)"
        single = memory.momentum_head(x).sigmoid()  # (batch, frames, heads)
        assert_same(kept[0, :, 2], single[0, 8], "the last chunk has one frame")
        assert_same(kept[1, :, 0], single[1, :4].mean(0), "a full chunk")
        assert (kept[1, :, 1:] == 1).all(), "chunks of padding keep what there is"
        torch.nn.init.zeros_(memory.momentum_head.weight)
        assert_same(memory.chunk_momentum(x, self.padding)[0], torch.full((2, 3), 0.8), "begins at what is configured")
        assert Memory(config()).chunk_momentum(x, self.padding) is None


def test_a_row_of_zeros_has_a_finite_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    (x / l2_norm(x, eps=1e-6)).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 3, 5, 50])
@pytest.mark.parametrize("frames", [1, 4, 13])
def test_window_attention_is_attention_under_a_band(frames, window, causal):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, frames, 4)
    padding = padding_mask(torch.tensor([frames, (frames + 1) // 2]))
    distance = torch.arange(frames)[None, :] - torch.arange(frames)[:, None]  # of a key from a query
    band = (distance.abs() <= window) & ((distance <= 0) | (not causal))
    mask = key_mask(padding) & band
    expected, _ = scaled_dot_product_attention(query, key, value, mask[:, None])
    got = window_attention(query, key, value, padding, window, causal)
    for row in range(2):
        real = padding[row]
        assert_same(got[row][:, real], expected[row][:, real], f"{window} frames to either side")
    assert torch.isfinite(got).all()


def layer(**lact: object) -> LactLayer:
    torch.manual_seed(0)
    return LactLayer(config(**lact)).eval()


def utterance(frames: int) -> Tensor:
    return torch.randn(frames, 16, generator=torch.Generator().manual_seed(frames))


def batch_of(lengths: list[int], time: int, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    x = torch.full((len(lengths), time, 16), fill)
    for row, frames in enumerate(lengths):
        x[row, :frames] = utterance(frames)
    return x, padding_mask(torch.tensor(lengths), time)


@each_order
@each_muon
@each_momentum
class TestLayer:
    def test_padding_and_company_change_nothing(self, causal, muon, momentum):
        module = layer(causal=causal, muon=muon, momentum=momentum)
        for lengths, time, fill in (([11], 25, 50.0), ([11, 3], 11, 0.0), ([23, 11, 1], 23, 5.0)):
            x, padding = batch_of(lengths, time, fill)
            out, _ = module(x, padding)
            for row, frames in enumerate(lengths):
                alone, _ = module(*batch_of([frames], frames))
                assert_same(out[row, :frames], alone[0], f"{frames} frames in a batch of {lengths}", 1e-4)

    def test_no_gradient_comes_from_padding(self, causal, muon, momentum):
        x, padding = batch_of([11, 6], 14)
        x.requires_grad_()
        layer(causal=causal, muon=muon, momentum=momentum)(x, padding)[0][padding].square().sum().backward()
        assert (x.grad[~padding] == 0).all()
        assert (x.grad[padding] != 0).any(dim=-1).all()

    def test_who_sees_whom(self, causal, muon, momentum):
        """The first output depends on the last frame, ten windows away, in the bidirectional form alone."""
        module = layer(causal=causal, muon=muon, momentum=momentum)
        x, padding = batch_of([30], 30)
        changed = x.clone()
        changed[0, 17] += torch.randn(16, generator=torch.Generator().manual_seed(1))
        one, other = module(x, padding)[0][0], module(changed, padding)[0][0]
        assert (one[-1] - other[-1]).abs().max() > 1e-6, "the memory carries it to the end"
        if causal:
            assert torch.equal(one[:17], other[:17]), "no frame sees a later one"
        else:
            assert (one[0] - other[0]).abs().max() > 1e-6, "and to the beginning"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_no_nan_even_for_a_row_of_zeros(self, causal, muon, momentum, dtype):
        module = layer(causal=causal, muon=muon, momentum=momentum).train()
        for projection in (module.self_attention.q_proj, module.self_attention.k_proj, module.self_attention.v_proj):
            torch.nn.init.zeros_(projection.bias)
        torch.nn.init.zeros_(module.norm1.bias)
        x, padding = batch_of([11, 6], 14)
        x[0, 3] = 0.0  # its normalised row, query, key and value are zeros too
        x.requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            out, _ = module(x, padding)
        out.float().square().sum().backward()
        assert torch.isfinite(out).all()
        assert torch.isfinite(x.grad).all()
        assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


@each_order
def test_a_layer_in_16_bits_is_only_less_exact(causal):
    module, (x, padding) = layer(causal=causal), batch_of([11, 6], 14)
    expected = module(x, padding)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(module(x, padding)[0][padding].float(), expected[padding], "autocast", 0.1)
    low = module.bfloat16()
    assert_same(low(x.bfloat16(), padding)[0][padding].float(), expected[padding], "weights of 16 bits", 0.1)


def work(module: torch.nn.Module, frames: int) -> tuple[int, int]:
    """Floating-point operations forward and backward, and the elements of the largest tensor that is kept."""
    x = torch.randn(1, frames, 16, requires_grad=True)
    largest = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    padding = torch.ones(1, frames, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        module(x, padding)[0].sum().backward()
    return counter.get_total_flops(), largest


@each_order
def test_the_cost_grows_with_the_length_alone(causal):
    """Counted, not timed: twice as many frames more cost twice as much more, and no tensor has all pairs of frames."""
    module = layer(causal=causal, muon=True)
    (one, small), (two, _), (four, large) = (work(module, frames) for frames in (24, 48, 96))
    assert four - two == 2 * (two - one)
    assert large == 4 * small
    attention = EncoderLayer(config())
    (one, small), (two, _), (four, large) = (work(attention, frames) for frames in (24, 48, 96))
    assert four - two > 2.5 * (two - one)
    assert large == 16 * small, "all pairs of frames"


def test_300_steps_with_muon_stay_finite():
    """Recall by memory alone: the second half of a sequence asks what the first half said."""
    torch.manual_seed(0)
    module = LactLayer(config(causal=True, chunk=4, window=1, muon=True, momentum=0.5)).train()
    head = torch.nn.Linear(16, 4)
    parameters = [*module.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    padding, names, losses = torch.ones(8, 8, dtype=torch.bool), torch.randn(4, 8), []
    for _ in range(300):
        said = torch.stack([torch.randperm(4) for _ in range(8)])  # (batch, 4): the answer to each name
        asked = torch.stack([torch.randperm(4) for _ in range(8)])
        first = torch.cat([names.expand(8, 4, 8), 3 * F.one_hot(said, 8)], dim=-1)
        second = torch.cat([names[asked], torch.zeros(8, 4, 8)], dim=-1)
        out = head(module(torch.cat([first, second], dim=1), padding)[0][:, 4:])
        loss = F.cross_entropy(out.flatten(0, 1), said.gather(1, asked).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(torch.tensor(losses)))
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
    assert sum(losses[-20:]) / 20 < 0.5 * sum(losses[:20]) / 20, "it learns to remember"


# ------------------------------------------------------------------------------------------------ the model


def lact_model(**model: object):
    lact = {"heads": 2, "chunk": 3, "window": 3, "base_lr": 0.5, **model.pop("lact", {})}
    return small_model(architecture="lact", lact=lact, **model)


LENGTHS = [41, 18, 7]


def run(model, lengths, time=None, padding=0.0):
    features = torch.full((len(lengths), time or max(lengths), 8), padding)
    for row, frames in enumerate(lengths):
        features[row, :frames] = 10 + 4 * torch.randn(frames, 8, generator=torch.Generator().manual_seed(frames))
    tokens = torch.stack([torch.arange(5) * frames % VOCAB_SIZE for frames in lengths])
    return model(features, torch.tensor(lengths), tokens)


@pytest.mark.parametrize(
    ("causal", "conv_layers", "conv_kernel"), [(False, 2, 0), (True, 2, 0), (False, 4, 0), (True, 4, 0), (False, 2, 5)]
)
def test_an_utterance_is_the_same_alone_and_in_any_batch(causal, conv_layers, conv_kernel):
    lact = {"causal": causal, "momentum": 0.5, "conv_layers": conv_layers}
    model = lact_model(encoder_layers=2, conv_kernel=conv_kernel, lact=lact)
    assert isinstance(model, LactTransformer)
    assert [type(module) for module in model.encoder.layers] == [ConvLactLayer if conv_kernel else LactLayer] * 2
    with torch.no_grad():
        together = run(model, [7, 41, 52, 18], time=64, padding=float("nan"))
        for row, frames in ((0, 7), (1, 41), (3, 18)):
            alone = run(model, [frames])
            real = alone.encoder_out.shape[1]
            assert real == -(-frames // 4)
            assert_same(together.encoder_out[row, :real], alone.encoder_out[0], "encoder", 1e-4)
            assert_same(together.ctc_log_probs[row, :real], alone.ctc_log_probs[0], "CTC", 1e-4)
            assert_same(together.logits[row], alone.logits[0], "decoder", 1e-4)


@each_order
@pytest.mark.parametrize("lengths", [LENGTHS, [7]], ids=["chunks", "one chunk"])
def test_every_parameter_gets_a_gradient(causal, lengths):
    """One that gets none would let DistributedDataParallel wait for it for ever; zeros will do."""
    model = lact_model(lact={"causal": causal, "momentum": 0.5}).train()
    output = run(model, lengths)
    (output.logits.square().mean() + output.ctc_log_probs[output.encoder_mask].square().mean()).backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []
    if len(lengths) > 1:
        assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


def test_the_interface_is_that_of_every_model():
    model = lact_model(decoder_layers=0)
    output = run(model, LENGTHS)
    assert output.logits is None
    assert output.ctc_log_probs.shape == (3, 11, VOCAB_SIZE)
    assert model(torch.randn(1, 20, 8), torch.tensor([20]), torch.zeros(1, 3).long(), True).attention_maps == {}
    with pytest.raises(ValueError, match="8 mels"):
        model.encoder(torch.zeros(2, 20, 9), torch.tensor([20, 20]))


def test_the_front_end_with_two_layers_is_the_usual_one():
    ours, theirs = AudioEncoder(config(), 8), ConvSubsampling(8, 16, 4, 4)
    theirs.load_state_dict(ours.state_dict())
    features, lengths = torch.randn(2, 21, 8) * padding_mask(torch.tensor([21, 13]))[..., None], torch.tensor([21, 13])
    out, out_lengths = ours(features, lengths)
    expected, expected_lengths = theirs(features, lengths)
    assert out_lengths.tolist() == expected_lengths.tolist() == [6, 4]
    assert_same(out, expected, "the same convolutions")


def test_the_front_end_has_a_dropout_of_its_own():
    module = AudioEncoder(config(audio_dropout=0.5), 8).train()
    features, lengths = torch.randn(1, 20, 8), torch.tensor([20])
    set_dropout(module, 0.0, 0.0)  # that of the model
    assert not torch.equal(module(features, lengths)[0], module(features, lengths)[0])
    module.eval()
    assert torch.equal(module(features, lengths)[0], module(features, lengths)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lact": {"heads": 3}}, r"lact\.heads \(3\) must divide d_model \(16\)"),
        ({"lact": {"conv_layers": 1}}, r"lact\.conv_layers \(1\) is too few for subsampling_factor 4"),
        ({"conv_kernel": 3, "lact": {"causal": True}}, r"conv_kernel \(3\) looks ahead"),
        ({"subsampling": "vgg"}, "a front end of its own: leave subsampling conv"),
        ({"lact": {"chunks": 3}}, r"unknown key 'model\.lact\.chunks' \(did you mean 'chunk'\?\)"),
        ({"lact": {"chunk": 0}}, r"model\.lact\.chunk: Input should be greater than 0"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, {"model": {"architecture": "lact", "d_model": 16, **changes}})


@pytest.mark.parametrize(
    ("name", "nominal", "sizes"),
    [
        ("lact_tiny", None, (144, 6, 4, 4, 2)),
        ("lact_base", "100M", (768, 12, 12, 4, 2)),
        ("lact_improved", "200M", (1024, 18, 16, 8, 3)),
        ("lact_large", "500M", (1536, 24, 24, 12, 4)),
    ],
)
def test_packaged_configurations_state_their_size(name, nominal, sizes):
    settings = load_config(name)
    model = settings.model
    lact = model.lact
    assert (model.d_model, model.encoder_layers, model.num_heads, lact.heads, lact.conv_layers) == sizes
    vocabulary = settings.tokenizer.vocab_size if settings.tokenizer.kind != "char" else 33
    with torch.device("meta"):  # its sizes alone
        count = count_parameters(build_model(settings, vocabulary)) / 1e6
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").replace("\n# ", " ")
    shape = ", ".join(map(str, sizes))
    row = f"| {shape} | {nominal or ''} | {count:.{1 if nominal else 2}f}M |".replace("|  |", "| |")
    assert row in (CONFIGS.parents[1] / "docs" / "lact.md").read_text(encoding="utf-8")
    if nominal is None:
        assert f"{count:.2f}M parameters" in text
        return
    assert f"Called the {nominal} model; it has {count:.1f}M parameters" in text
    training = settings.training
    habits = (training.accumulate, training.validate_every, training.checkpoint_every, training.sample_every)
    assert habits == (2, 1000, 5000, 500)
    assert (training.optimizer.lr, training.optimizer.clip, training.schedule.warmup_steps) == (1e-4, 1.0, 2000)
    assert settings.data.max_seconds == 20.0
    hours = {"lact_base": 100.6, "lact_improved": 363.6, "lact_large": 960.9}[name]
    passes = training.max_steps * training.accumulate * settings.data.batch_seconds / (3600 * hours)
    assert int(re.search(r"Some (\d+) passes", text)[1]) == round(passes)


# ------------------------------------------------------------------------------------------------ growing


@pytest.mark.parametrize(("causal", "conv_kernel"), [(False, 0), (True, 0), (False, 3)])
def test_a_layer_can_begin_as_the_identity(causal, conv_kernel):
    x, padding = batch_of([11, 6], 14)
    sizes = replace(config(causal=causal), conv_kernel=conv_kernel)
    module = make_identity((ConvLactLayer if conv_kernel else LactLayer)(sizes).eval())
    out, _ = module(x, padding)
    assert torch.equal(out, x)
    module(x, padding)[0].square().sum().backward()
    assert module.self_attention.out_proj.weight.grad.any(), "and learns from the first step on"


@pytest.mark.parametrize("place", ["top", "between"])
def test_a_model_grows_and_computes_the_same(place):
    model = lact_model(encoder_layers=2)
    before = run(model, LENGTHS)
    deeper = small_config(architecture="lact", encoder_layers=5, lact={"heads": 2, "chunk": 3, "window": 3}).model
    grow(model, deeper, seed=1, place=place)
    assert [type(module) for module in model.encoder.layers] == [LactLayer] * 5
    after = run(model, LENGTHS)
    assert_same(after.ctc_log_probs[after.encoder_mask], before.ctc_log_probs[before.encoder_mask], "nothing is lost")


@pytest.mark.parametrize("conv_kernel", [0, 3])
def test_a_layer_may_begin_with_the_weights_of_a_transformers(tmp_path, conv_kernel):
    values = {"d_model": 16, "num_heads": 2, "d_ff": 32, "encoder_layers": 1, "decoder_layers": 1}
    values["conv_kernel"] = conv_kernel
    values |= {"subsampling_channels": 4, "lact": {"heads": 2}}
    tokenizer = CharTokenizer("AB ")
    transformer = from_dict(Config, {"model": values})
    save_checkpoint(tmp_path, build_model(transformer, tokenizer.vocab_size), tokenizer, transformer)
    model = build_model(from_dict(Config, {"model": {**values, "architecture": "lact"}}), tokenizer.vocab_size)
    transfer = from_checkpoint(model, tmp_path)
    assert transfer.left == {}
    assert all(".memory." in name for name in transfer.new)
    assert "encoder.layers.0.self_attention.q_proj.weight" in transfer.transferred


# ------------------------------------------------------------------------------------------------ training


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sound_corpus(tmp_path_factory.mktemp("lact") / "tiny", TEXTS)


def settings(corpus, *overrides: str) -> Config:
    small = ["--model.decoder_layers=0", "--model.lact.chunk=4", "--model.lact.window=4", "--training.sample_every=2"]
    return training_config(corpus, *small, *overrides, base="lact_tiny")


def test_it_trains_is_saved_and_recognises(corpus, tmp_path):
    result = train(settings(corpus, "--model.lact.causal=true"), tmp_path / "run", progress=False)
    metrics = read_metrics(result.run_folder)
    assert metrics["validations"][-1]["step"] == 4
    assert metrics["skipped_updates"] == 0
    samples = (result.run_folder / "samples.txt").read_text(encoding="utf-8")
    assert [line for line in samples.splitlines() if ", sample, ctc" in line] == [
        "== step 2, sample, ctc",
        "== step 4, sample, ctc",
    ]
    assert "step 2 sample: said " in (result.run_folder / "train.log").read_text(encoding="utf-8")
    model, tokenizer, saved = load_checkpoint(result.checkpoint)
    assert isinstance(model, LactTransformer)
    assert (saved.model.lact.causal, saved.model.lact.chunk) == (True, 4)
    save_checkpoint(tmp_path / "copy", model, tokenizer, saved)
    again, _, _ = load_checkpoint(tmp_path / "copy")
    features, lengths = torch.randn(1, 90, 20), torch.tensor([90])
    assert torch.equal(again.encode(features, lengths)[0], model.encode(features, lengths)[0])
    sound = next(corpus.rglob("*.flac"))
    texts = [load(folder).transcribe(sound, search="ctc").text for folder in (result.checkpoint, tmp_path / "copy")]
    assert texts[0] == texts[1]
    # It goes on where it stopped.
    assert train(resume=result.run_folder, progress=False).run_folder == result.run_folder


def test_the_encoder_of_an_encoder_decoder_grows_while_it_trains(corpus, tmp_path):
    stages = "[{encoder_layers: 1, dropout: 0.0, steps: 2}, {encoder_layers: 2, dropout: 0.1}]"
    config = settings(
        corpus,
        "--model.decoder_layers=1",
        "--model.encoder_layers=2",
        "--training.ctc_weight=0.5",
        "--training.validation_search=joint",
        "--progressive.kind=stages",
        f"--progressive.stages={stages}",
    )
    result = train(config, tmp_path / "run", progress=False)
    assert read_metrics(result.run_folder)["validations"][-1]["encoder_layers"] == 2


class SpoiltMemory(Memory):
    def forward(self, *given):
        out = super().forward(*given)
        return out + (out - out).log()


def test_diagnose_names_the_layer_of_a_nan(corpus):
    config = settings(corpus, "--model.encoder_layers=2")
    data, model = prepare(config, progress=False)
    stepper = Stepper(config, data.tokenizer, model, total_steps=10)
    batches = list(data.train.batches(0))
    report = examine(stepper, batches)
    assert report.finding is None
    assert report.memory["encoder.layers.1"].activations > 0
    model.encoder.layers[1].memory.__class__ = SpoiltMemory
    found = examine(stepper, batches).finding
    assert (found.place, found.module) == ("forward", "encoder.layers.1.memory")
    with torch.no_grad():
        model.encoder.layers[0].memory.w1[0, 1, 2] = float("nan")
    found = examine(stepper, batches).finding
    assert (found.place, found.module) == ("weights", "encoder.layers.0.memory.w1")
