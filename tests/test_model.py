"""The whole model: shapes, parameters, and utterances that come out the same alone and in any batch."""

import pytest
import torch
from model_checks import VOCAB_SIZE, assert_same, small_config, small_model

from asr_tutorial.encoder import SUBSAMPLING
from asr_tutorial.errors import ConfigError
from asr_tutorial.model import MODELS, SpeechTransformer, build_model, count_parameters

LENGTHS = [41, 18, 7]


def features_of(lengths: list[int], time: int | None = None, padding: float = 0.0) -> torch.Tensor:
    """Like log-mel, 10 +- 4; the same values for a length in any batch: (batch, time, mels)."""
    features = torch.full((len(lengths), time or max(lengths), 8), padding)
    for row, length in enumerate(lengths):
        noise = torch.randn(length, 8, generator=torch.Generator().manual_seed(length))
        features[row, :length] = 10 + 4 * noise
    return features


def tokens_of(lengths: list[int], width: int = 5) -> torch.Tensor:
    """A transcript that depends on the utterance alone: (batch, width)."""
    return torch.stack([torch.arange(width) * length % VOCAB_SIZE for length in lengths])


def run(model, lengths, time=None, padding=0.0, need_weights=False):
    with torch.no_grad():
        return model(features_of(lengths, time, padding), torch.tensor(lengths), tokens_of(lengths), need_weights)


def test_shapes():
    output = run(small_model(), LENGTHS)
    assert output.encoder_out.shape == (3, 11, 16), "(batch, ceil(41 / 4), d_model)"
    assert output.encoder_mask.sum(dim=1).tolist() == [11, 5, 2], "real encoder frames: ceil of 41, 18 and 7 over 4"
    assert output.ctc_log_probs.shape == (3, 11, VOCAB_SIZE), "(batch, frames, vocab)"
    assert output.logits.shape == (3, 5, VOCAB_SIZE), "(batch, length, vocab)"
    assert output.attention_maps == {}, "no maps unless asked for"


def test_attention_maps():
    model = small_model(encoder_layers=2)
    output = run(model, LENGTHS, need_weights=True)
    shapes = {name: tuple(weights.shape) for name, weights in output.attention_maps.items()}
    assert shapes == {
        "encoder.0.self_attention": (3, 2, 11, 11),
        "encoder.1.self_attention": (3, 2, 11, 11),
        "decoder.0.self_attention": (3, 2, 5, 5),
        "decoder.0.cross_attention": (3, 2, 5, 11),
    }, "(batch, heads, queries, keys) by layer"
    assert_same(output.logits, run(model, LENGTHS).logits, "asking for maps must not change what is computed")


def test_parts_compute_what_forward_does():
    model = small_model()
    expected = run(model, LENGTHS)
    with torch.no_grad():
        encoder_out, mask = model.encode(features_of(LENGTHS), torch.tensor(LENGTHS))
        assert_same(encoder_out, expected.encoder_out, "encode")
        assert_same(model.ctc_log_probs(encoder_out), expected.ctc_log_probs, "ctc_log_probs")
        assert_same(model.decode(tokens_of(LENGTHS), encoder_out, mask), expected.logits, "decode")
        cache = model.new_cache()
        steps = [model.decode(tokens_of(LENGTHS)[:, t : t + 1], encoder_out, mask, cache) for t in range(5)]
    assert_same(torch.cat(steps, dim=1), expected.logits, "decode with a cache, one token at a time")


@pytest.mark.parametrize("normalize", ["global", "utterance", "none"])
@pytest.mark.parametrize("conv_kernel", [0, 15])
@pytest.mark.parametrize("subsampling", SUBSAMPLING)
def test_an_utterance_is_the_same_alone_and_in_any_batch(subsampling, conv_kernel, normalize):
    model = small_model(normalize, subsampling=subsampling, conv_kernel=conv_kernel)
    together = {
        "in a batch": run(model, LENGTHS),
        "in a longer batch": run(model, [7, 41, 52, 18], time=64),
        "with padding that is not a number": run(model, LENGTHS, time=48, padding=float("nan")),
    }
    rows = {"in a batch": LENGTHS, "in a longer batch": [7, 41, 52, 18], "with padding that is not a number": LENGTHS}
    for length in LENGTHS:
        alone = run(model, [length])
        frames = alone.encoder_out.shape[1]
        for where, output in together.items():
            row, why = rows[where].index(length), f"{length} frames {where} must come out as alone: "
            assert output.encoder_mask[row].sum() == frames
            assert_same(output.encoder_out[row, :frames], alone.encoder_out[0], why + "encoder")
            assert_same(output.ctc_log_probs[row, :frames], alone.ctc_log_probs[0], why + "CTC")
            assert_same(output.logits[row], alone.logits[0], why + "decoder")


@pytest.mark.parametrize("normalize", ["global", "utterance", "none"])
@pytest.mark.parametrize("conv_kernel", [0, 15])
@pytest.mark.parametrize("subsampling", SUBSAMPLING)
def test_no_gradient_comes_from_padding(subsampling, conv_kernel, normalize):
    model = small_model(normalize, subsampling=subsampling, conv_kernel=conv_kernel)
    features = features_of(LENGTHS).requires_grad_()
    output = model(features, torch.tensor(LENGTHS), tokens_of(LENGTHS))
    real = output.encoder_out[output.encoder_mask]
    (real.square().sum() + output.logits.square().sum()).backward()
    for row, length in enumerate(LENGTHS):
        behind = features.grad[row, length:]
        assert (behind == 0).all(), (
            f"real outputs must not depend on padding, the gradient is up to {behind.abs().max()}"
        )
        heard = (features.grad[row, :length] != 0).any(dim=1).float().mean()
        assert heard > 0.8, f"gradients do reach real frames, but only {heard:.0%} of {length}"


@pytest.mark.parametrize("training", [True, False])
def test_ctc_is_computed_in_single_precision_under_autocast(training):
    model = small_model().train(training)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(features_of(LENGTHS), torch.tensor(LENGTHS), tokens_of(LENGTHS))
    assert output.ctc_log_probs.dtype == torch.float32, f"CTC sums many small numbers: {output.ctc_log_probs.dtype}"
    sums = output.ctc_log_probs.exp().sum(-1)
    assert_same(sums, torch.ones(3, 11), "probabilities of a frame sum to 1")
    if not training:  # without SpecAugment's random masks
        expected = run(model, LENGTHS).ctc_log_probs
        assert_same(output.ctc_log_probs, expected, "bf16 is only less exact", tolerance=0.1)


class TestWithoutDecoder:
    def test_has_ctc_alone(self):
        output = run(small_model(decoder_layers=0), LENGTHS)
        assert output.logits is None, "decoder_layers=0: no decoder, no logits"
        assert output.ctc_log_probs.shape == (3, 11, VOCAB_SIZE)

    def test_says_why_it_cannot_decode(self):
        model = small_model(decoder_layers=0)
        with pytest.raises(ConfigError, match=r"no decoder \(model\.decoder_layers is 0\)"):
            model.new_cache()
        with pytest.raises(ConfigError, match="no decoder"):
            model.decode(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 2, 16), torch.ones(1, 2, dtype=torch.bool))


def test_state_dict_round_trip():
    model = small_model(positional="learned", conv_kernel=3)
    expected = run(model, LENGTHS)
    torch.manual_seed(99)
    other = build_model(small_config(positional="learned", conv_kernel=3), VOCAB_SIZE).eval()
    assert not torch.allclose(run(other, LENGTHS).logits, expected.logits), "other random weights, other output"
    other.load_state_dict(model.state_dict())
    got = run(other, LENGTHS)
    assert torch.equal(got.logits, expected.logits), "weights and MVN statistics are all that an output depends on"
    assert torch.equal(got.ctc_log_probs, expected.ctc_log_probs)


def test_number_of_parameters():
    """d_model 16, 2 heads, d_ff 32, one layer each, 4 channels, 8 mel bins, 11 tokens, worked out by hand."""
    subsampling = (9 * 1 * 4 + 4) + (9 * 4 * 4 + 4) + (4 * 2 * 16 + 16)  # two 3 x 3 convolutions; mels 8 -> 4 -> 2
    attention = 4 * (16 * 16 + 16)  # query, key, value, output
    feed_forward = (16 * 32 + 32) + (32 * 16 + 16)
    norm = 2 * 16
    encoder = subsampling + (attention + feed_forward + 2 * norm) + norm
    decoder = 11 * 16 + (2 * attention + feed_forward + 3 * norm) + norm + (16 * 11 + 11)
    ctc_head = 16 * 11 + 11
    model = small_model()
    assert count_parameters(model.encoder) == encoder == 2588
    assert count_parameters(model.decoder) == decoder == 3739
    assert count_parameters(model) == encoder + decoder + ctc_head == 6514


def test_frozen_parameters_are_not_counted():
    model = small_model()
    model.encoder.requires_grad_(False)
    assert count_parameters(model) == 6514 - 2588


def test_every_parameter_is_trained():
    model = small_model(conv_kernel=3, positional="learned").train()
    output = model(features_of(LENGTHS), torch.tensor(LENGTHS), tokens_of(LENGTHS))
    (output.logits.square().mean() + output.ctc_log_probs[output.encoder_mask].square().mean()).backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == [], f"no gradient reaches {idle}: such weights are never learnt"


def test_registry():
    assert MODELS["transformer"] == "asr_tutorial.model.SpeechTransformer"
    config = small_config()
    assert isinstance(build_model(config, VOCAB_SIZE), SpeechTransformer)


def test_spec_augment_masks_in_training_only():
    model = small_model()
    features, lengths = features_of([40]), torch.tensor([40])
    normalized = model.normalize(features, lengths)
    torch.manual_seed(0)
    assert torch.equal(model.eval().front_end(features, lengths), normalized), "evaluation hears everything"
    masked = model.train().front_end(features, lengths)
    hidden = masked != normalized
    assert hidden.any(), "training hides bands and stretches"
    assert (masked[hidden] == 0).all(), "what is hidden becomes 0, the mean after normalisation"


def test_dropout_in_training_only():
    model = small_model(dropout=0.3)
    model.spec_augment.strength = 0.0
    given = (features_of(LENGTHS), torch.tensor(LENGTHS), tokens_of(LENGTHS))
    model.train()
    assert not torch.equal(model(*given).logits, model(*given).logits), "two training passes drop different elements"
    model.eval()
    assert torch.equal(model(*given).logits, model(*given).logits), "evaluation is repeatable"


def test_wrong_features_are_named():
    with pytest.raises(ValueError, match="8 mels"):
        small_model().encoder(torch.zeros(2, 20, 9), torch.tensor([20, 20]))
