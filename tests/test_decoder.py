"""The decoder: PyTorch's layer with other names, blind to the future, and the same with a cache."""

import pytest
import torch
from model_checks import VOCAB_SIZE, assert_same, gradients, model_config
from torch import nn
from transplant import from_torch, torch_decoder_layer

from asr_tutorial.decoder import Decoder, DecoderCache, DecoderLayer
from asr_tutorial.masks import causal_mask, key_mask, padding_mask, to_torch_attention_mask, to_torch_key_padding_mask

BATCH, LENGTH, FRAMES = 3, 6, 7
ENCODER_MASK = padding_mask(torch.tensor([7, 4, 1]))


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(model_config(decoder_layers=2), VOCAB_SIZE).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(VOCAB_SIZE, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def encoder_out() -> torch.Tensor:
    return torch.randn(BATCH, FRAMES, 16, generator=torch.Generator().manual_seed(2))


def test_layer_is_the_same_as_pytorchs(encoder_out):
    torch.manual_seed(0)
    ours = DecoderLayer(model_config())
    theirs = torch_decoder_layer(ours)
    causal = causal_mask(LENGTH)
    x = torch.randn(BATCH, LENGTH, 16)
    our_inputs = [tensor.clone().requires_grad_() for tensor in (x, encoder_out)]
    their_inputs = [tensor.clone().requires_grad_() for tensor in (x, encoder_out)]
    output, self_weights, cross_weights = ours(*our_inputs, causal, key_mask(ENCODER_MASK))
    expected = theirs(
        *their_inputs,
        tgt_mask=to_torch_attention_mask(causal, 2),
        memory_key_padding_mask=to_torch_key_padding_mask(ENCODER_MASK),
    )
    assert self_weights is None
    assert cross_weights is None
    assert_same(output, expected, "nn.TransformerDecoderLayer(norm_first=True) with the same weights")

    direction = torch.randn_like(output)
    output.backward(direction)
    expected.backward(direction)
    for name, one, other in zip(("x", "encoder_out"), our_inputs, their_inputs, strict=True):
        assert_same(one.grad, other.grad, f"gradient of the loss by {name}")
    their_gradients = from_torch(gradients(theirs))
    for name, gradient in gradients(ours).items():
        assert_same(gradient, their_gradients[name], f"gradient of the loss by {name}")


def test_logits_of_every_position(decoder, tokens, encoder_out):
    logits, maps = decoder(tokens, encoder_out, ENCODER_MASK)
    assert logits.shape == (BATCH, LENGTH, VOCAB_SIZE), f"(batch, length, vocab), got {tuple(logits.shape)}"
    assert maps == {}, "no maps unless asked for"


def test_the_future_changes_nothing(decoder, tokens, encoder_out):
    expected, _ = decoder(tokens, encoder_out, ENCODER_MASK)
    for position in range(1, LENGTH):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCAB_SIZE
        logits, _ = decoder(changed, encoder_out, ENCODER_MASK)
        assert_same(
            logits[:, :position],
            expected[:, :position],
            f"token {position} must not be seen before it is said: in a search it does not exist yet",
        )
        assert not torch.allclose(logits[:, position:], expected[:, position:]), "and it must be seen from there on"


def test_padding_at_the_end_changes_nothing(decoder, tokens, encoder_out):
    expected, _ = decoder(tokens, encoder_out, ENCODER_MASK)
    for pad in (0, VOCAB_SIZE - 1):
        padded = torch.cat([tokens, torch.full((BATCH, 5), pad)], dim=1)
        logits, _ = decoder(padded, encoder_out, ENCODER_MASK)
        assert_same(logits[:, :LENGTH], expected, "PAD follows the real tokens, which only look back")


def test_padded_frames_and_company_change_nothing(decoder, tokens, encoder_out):
    expected, _ = decoder(tokens, encoder_out, ENCODER_MASK)
    noisy = encoder_out.masked_fill(~ENCODER_MASK[..., None], 30.0)
    assert_same(decoder(tokens, noisy, ENCODER_MASK)[0], expected, "cross-attention must not see padded frames")
    alone, _ = decoder(tokens[1:2], encoder_out[1:2, :4], ENCODER_MASK[1:2, :4])
    assert_same(expected[1:2], alone, "an utterance comes out the same alone and in any batch")


@pytest.mark.parametrize("pieces", [[1] * LENGTH, [2, 1, 3], [LENGTH]])
def test_cached_steps_are_the_full_pass(decoder, tokens, encoder_out, pieces):
    expected, _ = decoder(tokens, encoder_out, ENCODER_MASK)
    cache, logits = DecoderCache(2), []
    for piece in tokens.split(pieces, dim=1):
        logits.append(decoder(piece, encoder_out, ENCODER_MASK, cache=cache)[0])
    assert_same(torch.cat(logits, dim=1), expected, f"steps of {pieces} tokens with a cache, or all at once: the same")
    assert cache.length == LENGTH, f"the cache counts the tokens it has seen, {LENGTH}, got {cache.length}"


def test_a_cache_can_drop_and_repeat_rows(decoder, tokens, encoder_out):
    rows = torch.tensor([2, 0, 0])
    cache = DecoderCache(2)
    decoder(tokens[:, :3], encoder_out, ENCODER_MASK, cache=cache)
    cache.select(rows)
    got, _ = decoder(tokens[rows, 3:], encoder_out[rows], ENCODER_MASK[rows], cache=cache)
    expected, _ = decoder(tokens[rows], encoder_out[rows], ENCODER_MASK[rows])
    assert_same(got, expected[:, 3:], "after select, row i continues what row rows[i] was")


def test_positions_go_on_after_the_cached_tokens(decoder, encoder_out):
    """The same token at step 0 and at step 1 must get different positions."""
    token = torch.zeros(BATCH, 1, dtype=torch.long)
    cache = DecoderCache(2)
    decoder(token, encoder_out, ENCODER_MASK, cache=cache)
    second, _ = decoder(token, encoder_out, ENCODER_MASK, cache=cache)
    both, _ = decoder(token.expand(-1, 2), encoder_out, ENCODER_MASK)
    assert_same(second[:, 0], both[:, 1], "a cached step is at position cache.length")


def test_maps_are_named_by_layer(decoder, tokens, encoder_out):
    logits, maps = decoder(tokens, encoder_out, ENCODER_MASK, need_weights=True)
    assert list(maps) == [f"decoder.{i}.{kind}_attention" for i in (0, 1) for kind in ("self", "cross")]
    assert maps["decoder.0.self_attention"].shape == (BATCH, 2, LENGTH, LENGTH)
    assert maps["decoder.1.cross_attention"].shape == (BATCH, 2, LENGTH, FRAMES)
    assert (maps["decoder.0.self_attention"].triu(1) == 0).all(), "no weight on the future"
    assert (maps["decoder.0.cross_attention"][1, :, :, 4:] == 0).all(), "no weight on padded frames"
    assert_same(logits, decoder(tokens, encoder_out, ENCODER_MASK)[0], "asking for maps must not change the logits")


@pytest.mark.parametrize(("token", "span"), [(-100, r"-100\.\."), (VOCAB_SIZE, rf"\.\.{VOCAB_SIZE}")])
def test_ids_outside_the_vocabulary_are_named(decoder, tokens, encoder_out, token, span):
    tokens[1, 2] = token
    with pytest.raises(ValueError, match=rf"0\.\.{VOCAB_SIZE - 1}, got .*{span}"):
        decoder(tokens, encoder_out, ENCODER_MASK)


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH + 1, LENGTH)])
def test_wrong_tokens_are_named(decoder, encoder_out, shape):
    with pytest.raises(ValueError, match=rf"\(batch, length\) with batch {BATCH}, got \({shape[0]}"):
        decoder(torch.zeros(shape, dtype=torch.long), encoder_out, ENCODER_MASK)


def test_embeddings_and_positions_start_at_the_same_scale():
    torch.manual_seed(0)
    decoder = Decoder(model_config(d_model=64, positional="none"), vocab_size=200)
    seen = []
    decoder.layers[0].register_forward_pre_hook(lambda layer, given: seen.append(given[0].detach()))
    decoder(torch.arange(60)[None], torch.zeros(1, 1, 64), torch.ones(1, 1, dtype=torch.bool))
    assert float(seen[0].std()) == pytest.approx(1.0, abs=0.05), (
        "embeddings times sqrt(d_model) have a deviation of 1, like the sines that are added to them "
        f"(Vaswani et al. 2017, section 3.4); got {seen[0].std():.3f}"
    )


def test_learned_positions_work_with_a_cache(tokens, encoder_out):
    torch.manual_seed(0)
    decoder = Decoder(model_config(positional="learned"), VOCAB_SIZE).eval()
    nn.init.normal_(decoder.positional.table)
    cache = DecoderCache(1)
    steps = [decoder(tokens[:, t : t + 1], encoder_out, ENCODER_MASK, cache=cache)[0] for t in range(LENGTH)]
    assert_same(torch.cat(steps, 1), decoder(tokens, encoder_out, ENCODER_MASK)[0], "steps with a cache = one pass")
