"""A decoder that begins as a language model, and a recogniser that goes on from another: what is taken, what moves."""

import re

import pytest
import torch
from tiny import MODEL, tiny_config, tiny_recognizer
from tiny_training import TEXTS, training_config, weights

from asr_tutorial.checkpoint import load_checkpoint
from asr_tutorial.config import Config, LanguageModelConfig, OptimizerConfig, from_dict
from asr_tutorial.errors import CheckpointError, ConfigError
from asr_tutorial.language_model import NGram, TransformerLM, save_ngram, save_transformer_lm
from asr_tutorial.model import build_model
from asr_tutorial.tokenizer import CharTokenizer
from asr_tutorial.training import train
from asr_tutorial.training.initialise import from_checkpoint, from_pretrained_decoder
from asr_tutorial.training.optimizer import build_optimizer, freeze, unfreeze

TOKENIZER = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


def save_lm(folder, tokenizer=TOKENIZER, **changes):
    model = {"d_model": 16, "num_heads": 2, "d_ff": 32, "layers": 2, **changes}
    config = from_dict(LanguageModelConfig, {"model": model})
    torch.manual_seed(5)
    network = TransformerLM(config.model, tokenizer.vocab_size).eval()
    save_transformer_lm(folder, network, tokenizer, config)
    return network


@pytest.fixture
def lm(tmp_path):
    """A language model of random weights, and its folder."""
    return save_lm(tmp_path / "lm"), tmp_path / "lm"


def recogniser(**model):
    torch.manual_seed(0)
    return build_model(tiny_config(**model), TOKENIZER.vocab_size).eval()


@pytest.mark.parametrize("layers", [2, 3])
def test_the_decoder_begins_as_the_language_model(lm, layers):
    network, folder = lm
    model = recogniser(decoder_layers=layers)
    from_pretrained_decoder(model, folder)
    tokens = torch.tensor([[1, 6, 9, 12, 7], [1, 7, 7, 20, 8]])
    for seed in (1, 2):
        sound = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(seed))
        logits = model.decode(tokens, sound, torch.ones(2, 7, dtype=torch.bool))
        torch.testing.assert_close(logits, network(tokens), atol=1e-5, rtol=1e-5)


def test_it_learns_to_listen_all_the_same(lm):
    """The output of cross-attention is zero at first: its last projection gets a gradient, and then all of it."""
    model = recogniser(decoder_layers=2)
    from_pretrained_decoder(model, lm[1])
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2))
    sound, mask = torch.randn(1, 7, 16), torch.ones(1, 7, dtype=torch.bool)
    attention = model.decoder.layers[0].cross_attention
    before = {name: parameter.detach().clone() for name, parameter in attention.named_parameters()}
    for _ in range(2):
        model.decode(torch.tensor([[1, 6, 9]]), sound, mask).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, parameter in attention.named_parameters() if not torch.equal(parameter, before[name])}
    assert {"q_proj.weight", "k_proj.weight", "v_proj.weight", "out_proj.weight"} <= moved


def test_the_report_names_what_is_transferred_new_and_left(lm):
    model = recogniser(decoder_layers=1)
    transfer = from_pretrained_decoder(model, lm[1])
    assert "decoder.layers.0.self_attention.q_proj.weight" in transfer.transferred
    assert "decoder.embedding.weight" in transfer.transferred
    assert transfer.new, "the decoder listens, the language model did not"
    assert all(re.search(r"cross_attention|norm2", name) for name in transfer.new)
    assert all(name.startswith("decoder.layers.1.") for name in transfer.left)
    assert {*transfer.transferred, *transfer.new} == {f"decoder.{name}" for name in model.decoder.state_dict()}
    text = transfer.text()
    assert re.search(r"transferred \d+: decoder\.embedding\.weight, .* and \d+ more\n", text)
    assert "(model.decoder_layers is 1)" in text
    own = dict(model.named_parameters())
    for name, value in lm[0].named_parameters():
        if not name.startswith("layers.1."):
            assert torch.equal(own[f"decoder.{name}"], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 32}, r"d_model is 32 there and 16 here.*--model\.d_model=32"),
        ({"d_ff": 64}, r"d_ff is 64 there and 32 here.*--model\.d_ff=64"),
        ({"num_heads": 4}, r"num_heads is 4 there and 2 here.*--model\.num_heads=4"),
        ({"positional": "none"}, r"positional is .* there and SinusoidalPositionalEncoding here"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    save_lm(tmp_path / "lm", **changes)
    model = recogniser()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        from_pretrained_decoder(model, tmp_path / "lm")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "nothing was changed"


def test_learned_positions_of_another_length_are_named(tmp_path):
    save_lm(tmp_path / "lm", positional="learned", max_length=300)
    with pytest.raises(ConfigError, match=r"decoder\.positional\S* is \(300, 16\) there and \(5000, 16\) here"):
        from_pretrained_decoder(recogniser(positional="learned"), tmp_path / "lm")


def test_other_vocabularies_and_kinds_are_named(tmp_path, lm):
    save_lm(tmp_path / "small", CharTokenizer("ABC"))
    with pytest.raises(ConfigError, match=r"has 9 tokens, the recogniser 33: .*--tokenizer\.folder="):
        from_pretrained_decoder(recogniser(), tmp_path / "small")
    save_ngram(tmp_path / "ngram", NGram.train(["A B", "B A"], order=2))
    with pytest.raises(ConfigError, match="n-gram"):
        from_pretrained_decoder(recogniser(), tmp_path / "ngram")
    with pytest.raises(ConfigError, match="no decoder"):
        from_pretrained_decoder(recogniser(decoder_layers=0), lm[1])
    with pytest.raises(CheckpointError, match="no language model at"):
        from_pretrained_decoder(recogniser(), tmp_path / "nowhere")


# What moves


def movements(model, optimizer, steps):
    """How far each parameter of the decoder is moved at the most, by each of some steps."""
    sound, mask = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(1)), torch.ones(1, 7, dtype=torch.bool)
    rows = []
    for step in steps:
        freeze(optimizer, step)
        before = {name: parameter.detach().clone() for name, parameter in model.decoder.named_parameters()}
        model.decode(torch.tensor([[1, 6, 9]]), sound, mask).log_softmax(-1)[..., 7].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        rows.append({n: float((p.detach() - before[n]).abs().max()) for n, p in model.decoder.named_parameters()})
    return rows


OUT = "layers.0.cross_attention.out_proj.weight"
INHERITED = "layers.0.feed_forward.linear2.weight"


def test_what_rests_does_not_move_and_what_is_woken_does(lm):
    model = recogniser()
    transfer = from_pretrained_decoder(model, lm[1], rests_until=3)
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2, weight_decay=0.1))
    rows = movements(model, optimizer, range(5))
    inherited = {name.removeprefix("decoder.") for name in transfer.transferred}
    for step, row in enumerate(rows):
        assert row[OUT] > 0, f"step {step}: what is new learns all the time"
        moved = {name for name in inherited & row.keys() if row[name] > 0}
        if step < 3:
            assert moved == set(), f"step {step}: nothing of the language model may move, not even by weight decay"
        else:
            assert INHERITED in moved
            assert len(moved) > 10
    assert optimizer.state[dict(model.decoder.named_parameters())[INHERITED]]["step"] == 2, "and Adam begins afresh"


def test_unfreeze_wakes_everything(lm):
    model = recogniser()
    from_pretrained_decoder(model, lm[1], rests_until=1000)
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2))
    (asleep,) = movements(model, optimizer, [0])
    unfreeze(optimizer)
    (awake,) = movements(model, optimizer, [1])
    assert (asleep[INHERITED], awake[INHERITED] > 0) == (0.0, True)


def test_what_is_inherited_has_a_learning_rate_of_its_own(lm):
    model = recogniser()
    from_pretrained_decoder(model, lm[1], lr=0.1)
    (row,) = movements(model, build_optimizer(model, OptimizerConfig(lr=1e-2, weight_decay=0.0)), [0])
    # Adam's first step is the learning rate itself, whatever the gradient.
    assert row[OUT] == pytest.approx(1e-2, rel=0.05)
    assert row[INHERITED] == pytest.approx(1e-3, rel=0.2)


# In a training


@pytest.fixture
def corpus(tmp_path):
    from tiny import sound_corpus

    return sound_corpus(tmp_path / "corpus", TEXTS)


def test_a_training_with_a_decoder_that_rests_at_first(corpus, tmp_path):
    tokenizer = CharTokenizer.train(TEXTS)
    network = save_lm(tmp_path / "lm", tokenizer, layers=1)
    settings = [
        f"--initialise.decoder={tmp_path / 'lm'}",
        "--initialise.freeze_decoder_steps=2",
        "--initialise.decoder_lr=0.5",
    ]
    resting = train(training_config(corpus, *settings, "--training.max_steps=2"), tmp_path / "a", progress=False)
    after = weights(resting.run_folder)
    name = "feed_forward.linear2.weight"
    assert torch.equal(after[f"decoder.layers.0.{name}"], network.state_dict()[f"layers.0.{name}"])
    assert after["decoder.layers.0.cross_attention.out_proj.weight"].abs().sum() > 0
    awake = train(training_config(corpus, *settings, "--training.max_steps=3"), tmp_path / "b", progress=False)
    after = weights(awake.run_folder)
    assert not torch.equal(after[f"decoder.layers.0.{name}"], network.state_dict()[f"layers.0.{name}"])
    log = (awake.run_folder / "train.log").read_text()
    assert re.search(r"weights of \S+lm\n  transferred \d+: decoder\.embedding\.weight", log)


def test_going_on_from_a_recogniser_that_had_no_decoder(corpus, tmp_path):
    """Its weights, its normalisation and its vocabulary are taken; the decoder is new."""
    ctc = ["--model.decoder_layers=0", "--training.ctc_weight=1.0", "--training.max_steps=1"]
    first = train(training_config(corpus, *ctc), tmp_path / "ctc", progress=False)
    start, tokenizer, _ = load_checkpoint(first.run_folder)
    config = training_config(corpus, f"--initialise.checkpoint={first.run_folder}", "--training.max_steps=1")
    config.training.optimizer.lr = 1e-9  # so that the weights are still those that it began with
    second = train(config, tmp_path / "both", progress=False)
    model, same_tokenizer, _ = load_checkpoint(second.run_folder)
    assert same_tokenizer.tokens == tokenizer.tokens
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-6, rtol=1e-6)
    log = (second.run_folder / "train.log").read_text()
    assert re.search(r"new \d+: decoder\.embedding\.weight", log)


def test_a_deeper_encoder_begins_as_the_one_that_it_goes_on_from(tmp_path):
    old = tiny_recognizer()
    old.save(tmp_path / "old")
    model = recogniser(encoder_layers=3, decoder_layers=2)
    transfer = from_checkpoint(model, tmp_path / "old")
    assert "encoder.layers.0.norm1.weight" in transfer.transferred
    assert {name.split(".")[2] for name in transfer.new if name.startswith("encoder.layers")} == {"1", "2"}
    features, lengths = 4 * torch.randn(2, 60, 80) + 10, torch.tensor([60, 41])
    for one, two in zip(model.encode(features, lengths), old.model.encode(features, lengths), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_tensors_of_another_shape_are_left_and_named(tmp_path):
    tiny_recognizer().save(tmp_path / "old")
    wider = build_model(tiny_config(d_ff=64), TOKENIZER.vocab_size)
    transfer = from_checkpoint(wider, tmp_path / "old")
    name = "encoder.layers.0.feed_forward.linear1.weight"
    assert transfer.left[name] == "its shape is (32, 16), here (64, 16)"
    assert name in transfer.new
    assert "encoder.layers.0.self_attention.q_proj.weight" in transfer.transferred
    with pytest.raises(ConfigError, match="has 2 attention heads, this model 4"):
        from_checkpoint(build_model(tiny_config(num_heads=4), TOKENIZER.vocab_size), tmp_path / "old")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        from_checkpoint(wider, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"initialise": {"freeze_decoder_steps": 5}}, "set decoder"),
        ({"initialise": {"decoder_lr": 0.1}}, "set decoder"),
        (
            {
                "initialise": {"decoder": "lm"},
                "model": {**MODEL, "decoder_layers": 0},
                "training": {"ctc_weight": 1.0, "validation_search": "ctc"},
            },
            "initialise.decoder must be empty",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, values)
