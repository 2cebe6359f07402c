"""Progressive training, part by part: the plan, growing, what a stage sets, and when it ends."""

import math

import pytest
import torch
from tiny import MODEL, tiny_config

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.config import Config, StageConfig, from_dict, to_yaml
from asr_tutorial.dropout import Dropout
from asr_tutorial.errors import ConfigError
from asr_tutorial.model import build_model
from asr_tutorial.progressive import (
    check_freezing,
    choose_utterances,
    config_of_stage,
    freeze,
    grow,
    grow_stack,
    is_over,
    places_of_new,
    plan_stages,
    plateau,
    set_dropout,
)
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.loss import JointLoss, Sizes

TASK = SyntheticTask(n_mels=80, max_length=6)


def config_with(*stages: dict, model: dict | None = None, **progressive: object) -> Config:
    values = {"kind": "stages", "stages": list(stages)} if stages else {}
    sizes = {**MODEL, "encoder_layers": 4, "decoder_layers": 2, **(model or {})}
    return from_dict(Config, {"model": sizes, "progressive": {**values, **progressive}})


# The plan


def depths(config: Config) -> list[tuple[int, int]]:
    return [(stage.encoder_layers, stage.decoder_layers) for stage in plan_stages(config)]


@pytest.mark.parametrize(
    ("encoder", "decoder", "expected"),
    [
        (10, 2, [(1, 1), (2, 2), (4, 2), (8, 2), (10, 2)]),
        (6, 2, [(1, 1), (2, 2), (4, 2), (6, 2)]),
        (1, 4, [(1, 1), (1, 2), (1, 4)]),
        (1, 1, [(1, 1)]),
        (2, 0, [(1, 0), (2, 0)]),
    ],
)
def test_doubling_up_to_the_full_depth(encoder, decoder, expected):
    training = {"ctc_weight": 1.0, "validation_search": "ctc"} if decoder == 0 else {}
    config = from_dict(
        Config,
        {
            "model": {"encoder_layers": encoder, "decoder_layers": decoder},
            "training": training,
            "progressive": {"kind": "doubling", "stage_epochs": 5},
        },
    )
    assert depths(config) == expected
    plan = plan_stages(config)
    assert [stage.epochs for stage in plan] == [5] * (len(plan) - 1) + [0]


def test_a_decoder_that_is_a_language_model_has_all_its_layers():
    config = config_with(kind="doubling")
    config.initialise.decoder = "some/folder"
    assert depths(config) == [(1, 2), (2, 2), (4, 2)]


def test_no_stages_without_progressive_training():
    assert plan_stages(config_with()) == []


def test_a_stage_inherits_what_it_does_not_say():
    config = config_with(
        {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0, "data": 0.5, "order": "short", "steps": 3},
        {"encoder_layers": 2, "freeze": ["embedding"], "epochs": 2},
        {"encoder_layers": 4, "decoder_layers": 2, "freeze": [], "dropout": 0.3},
    )
    first, second, third = plan_stages(config)
    assert (first.label_smoothing, first.spec_augment, first.freeze, first.teacher_forcing) == (0.1, 1.0, (), None)
    assert (second.encoder_layers, second.decoder_layers) == (2, 1)
    assert (second.dropout, second.data, second.order, second.freeze) == (0.0, 0.5, "short", ["embedding"])
    assert (second.steps, second.epochs) == (0, 2)  # an end is not inherited
    assert (third.dropout, third.freeze, third.data) == (0.3, [], 0.5)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"encoder_layers": 3, "steps": 1}, {"encoder_layers": 2}], "stage 2 has encoder_layers=2; .* between 3"),
        ([{"encoder_layers": 9}], "stage 1 has encoder_layers=9; .* model.encoder_layers=4"),
        ([{"decoder_layers": 0, "steps": 1}, {"decoder_layers": 2}], "stage 1 has decoder_layers=0; .* between 1"),
        ([{"encoder_layers": 2}], r"the last stage has 2 \+ 2 layers, the model 4 \+ 2"),
    ],
)
def test_stages_that_cannot_be(stages, message):
    with pytest.raises(ConfigError, match=message):
        plan_stages(config_with(*stages))


@pytest.mark.parametrize(
    ("progressive", "message"),
    [
        ({"kind": "stages"}, "set both or neither"),
        ({"kind": "doubling", "stages": [{}]}, "set both or neither"),
        ({"kind": "stages", "stages": [{}, {}]}, "stage 1 never ends: give it steps, epochs or patience"),
        ({"kind": "stages", "stages": [{"dropuot": 0.1}]}, r"progressive.stages.0.dropuot' \(did you mean 'dropout'"),
        ({"kind": "stages", "stages": [{"data": 0}]}, "progressive.stages.0.data"),
    ],
)
def test_settings_that_are_refused(progressive, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, {"progressive": progressive})


def test_stages_survive_yaml(tmp_path):
    from asr_tutorial.config import load_config

    config = config_with({"encoder_layers": 1, "patience": 2, "freeze": ["a|b"]}, {"encoder_layers": 4})
    (tmp_path / "c.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "c.yaml") == config


def test_the_configuration_of_a_stage_is_that_of_a_plain_model():
    config = config_with({"encoder_layers": 1, "decoder_layers": 1, "steps": 1}, {})
    config.progressive.stages[1].encoder_layers, config.progressive.stages[1].decoder_layers = 4, 2
    first, last = plan_stages(config)
    small = config_of_stage(config, first)
    assert (small.model.encoder_layers, small.model.decoder_layers) == (1, 1)
    assert plan_stages(small) == []
    assert config_of_stage(config, last) == config


# Growing


@pytest.mark.parametrize("place", ["top", "between"])
@pytest.mark.parametrize("kernel", [0, 3])
def test_growing_changes_neither_loss_nor_output(kernel, place):
    torch.manual_seed(1)
    config = tiny_config(conv_kernel=kernel, encoder_layers=2, decoder_layers=1)
    vocabulary = TASK.tokenizer.vocab_size
    model, batch = build_model(config, vocabulary).eval(), TASK.batch(4)
    criterion = JointLoss(0.3, 0.1, TASK.tokenizer.blank_id, TASK.tokenizer.pad_id)

    def loss() -> float:
        with torch.no_grad():
            output = model(batch.features, batch.feature_lengths, batch.tokens_in)
            return float(criterion.mean(criterion.totals(output, batch), Sizes.of([batch])))

    before, small = loss(), sum(p.numel() for p in model.parameters())
    deep = tiny_config(conv_kernel=kernel, encoder_layers=5, decoder_layers=3)
    grow(model, deep.model, seed=1, place=place)
    model.eval()
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (5, 3)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in build_model(deep, vocabulary).parameters()
    )
    assert sum(p.numel() for p in model.parameters()) > small
    assert abs(loss() - before) < 1e-4
    # Layers with ordinary random weights would not have passed this test.
    with torch.no_grad():
        for layer in (model.encoder.layers[-1], model.decoder.layers[1]):
            torch.nn.init.xavier_uniform_(layer.feed_forward.linear2.weight)
    assert abs(loss() - before) > 1e-4


def test_new_layers_learn_at_once():
    torch.manual_seed(1)
    config = tiny_config(conv_kernel=3, encoder_layers=1, decoder_layers=1)
    model, batch = build_model(config, TASK.tokenizer.vocab_size), TASK.batch(4)
    grow(model, tiny_config(conv_kernel=3, encoder_layers=2, decoder_layers=2).model, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = JointLoss(0.3, 0.0, TASK.tokenizer.blank_id, TASK.tokenizer.pad_id)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):  # the first step moves the projections that were zero, the second what lies before them
        output = model(batch.features, batch.feature_lengths, batch.tokens_in)
        criterion.mean(criterion.totals(output, batch), Sizes.of([batch])).backward()
        optimizer.step()
        optimizer.zero_grad()
    still = [n for n, p in model.named_parameters() if "layers.1" in n and torch.equal(p, start[n])]
    # A bias of the keys adds the same to all scores of a query: it never matters.
    assert [name for name in still if "k_proj.bias" not in name] == []


def test_where_new_layers_go():
    assert places_of_new(2, 5) == [2, 3, 4]
    assert places_of_new(2, 4, "between") == [1, 3]
    assert places_of_new(8, 10, "between") == [1, 6]
    assert places_of_new(1, 4, "between") == [1, 2, 3]
    assert places_of_new(3, 3, "between") == []
    layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(2))
    grown = grow_stack(layers, 4, lambda: torch.nn.Linear(1, 1), "between")
    assert [grown[0], grown[2]] == list(layers)
    assert torch.equal(grown[1].weight, layers[0].weight)
    assert grown[1] is not layers[0]
    with pytest.raises(ValueError, match="a stack of 2 layers cannot grow to 1"):
        grow_stack(layers, 1, lambda: torch.nn.Linear(1, 1))


def test_growth_depends_on_its_seed_and_leaves_the_generator_alone():
    models = []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        model = build_model(tiny_config(), TASK.tokenizer.vocab_size)
        drawn = torch.rand(3)
        torch.manual_seed(5)
        grow(model, tiny_config(encoder_layers=2).model, seed=seed)
        after = torch.rand(1)
        torch.manual_seed(5)
        assert torch.equal(after, torch.rand(1)), drawn
        models.append(model.encoder.layers[1].feed_forward.linear1.weight)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


# What a stage sets


def test_dropout_reaches_every_module():
    model = build_model(tiny_config(conv_kernel=3, encoder_layers=2, decoder_layers=2), TASK.tokenizer.vocab_size)
    set_dropout(model, 0.37, attention=0.21)
    found = {name: module.p for name, module in model.named_modules() if isinstance(module, Dropout)}
    for part in ("encoder.dropout", "decoder.dropout", "encoder.layers.1.dropout", "encoder.layers.1.conv.dropout",
                 "encoder.layers.0.feed_forward.dropout", "decoder.layers.1.feed_forward.dropout"):  # fmt: skip
        assert found[part] == 0.37
    assert set(found.values()) == {0.37}
    attention = [module.dropout for module in model.modules() if isinstance(module, MultiHeadAttention)]
    assert attention == [0.21] * 6


def test_what_rests_and_what_learns():
    model = build_model(tiny_config(encoder_layers=2), TASK.tokenizer.vocab_size)
    frozen = freeze(model, [r"^encoder\.layers\.0\.", "embedding"])
    assert frozen == [n for n, _ in model.named_parameters() if n.startswith("encoder.layers.0.") or "embedding" in n]
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == set(frozen)
    assert freeze(model, []) == []
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["layers.9"], "'layers.9' matches no parameter; names are such as encoder.subsampling"),
        (["("], r"'\(' is not a regular expression"),
        (["encoder", "."], "nothing is left to learn"),
    ],
)
def test_what_cannot_rest(patterns, message):
    model = build_model(tiny_config(), TASK.tokenizer.vocab_size)
    with pytest.raises(ConfigError, match=message):
        freeze(model, patterns)
    assert all(p.requires_grad for p in model.parameters())


def test_what_a_later_stage_cannot_freeze_is_told_at_once():
    model = build_model(tiny_config(), TASK.tokenizer.vocab_size)
    deep = {"encoder_layers": 4, "decoder_layers": 2}
    good = {"encoder_layers": 2, "decoder_layers": 1, "steps": 1}
    check_freezing(model, plan_stages(config_with(good, {**deep, "freeze": [r"encoder\.layers\.[23]\."]})))
    for freezing in ([r"encoder\.layers\.4\."], ["["]):
        with pytest.raises(ConfigError, match=r"matches no parameter|is not a regular expression"):
            check_freezing(model, plan_stages(config_with(good, {**deep, "freeze": freezing})))
    with pytest.raises(ConfigError, match=r"layers.*1.* matches no parameter"):
        check_freezing(model, plan_stages(config_with({**good, "freeze": [r"decoder\.layers\.1\."]}, deep)))


def test_a_share_of_the_data_is_not_the_first_speakers():
    lengths = [50, 10, 30, 20, 40, 10] * 20
    chosen = choose_utterances(lengths, 0.25, "random", seed=1)
    assert len(chosen) == 30
    assert chosen == sorted(set(chosen))
    assert max(chosen) > 100
    assert chosen != list(range(30))
    assert chosen == choose_utterances(lengths, 0.25, "random", seed=1)
    assert chosen != choose_utterances(lengths, 0.25, "random", seed=2)
    assert set(chosen) < set(choose_utterances(lengths, 0.5, "random", seed=1))
    assert choose_utterances(lengths, 1.0, "random", seed=1) == list(range(120))
    assert choose_utterances(lengths[:6], 0.5, "short", seed=1) == [1, 3, 5]
    assert choose_utterances(lengths[:6], 0.01, "short", seed=1) == [1]


# The end of a stage


@pytest.mark.parametrize(
    ("history", "patience", "expected"),
    [
        ([], 2, False),
        ([5, 4, 3], 2, False),
        ([3, 4], 2, False),
        ([3, 4, 5], 2, True),
        ([3, 4, 3], 2, True),  # as good as before is no improvement
        ([3, 4, 2], 2, False),
        ([3, 4, 2, 2.5, 2.5], 2, True),
        ([9, 1, 5, 4], 2, True),  # falling again, but not below the best
        ([1, math.nan, math.nan], 2, True),
        ([math.nan, math.nan, 1], 2, False),
        ([3, 3], 1, True),
    ],
)
def test_plateau(history, patience, expected):
    assert plateau(history, patience) is expected


def test_the_first_limit_ends_a_stage():
    assert not is_over(StageConfig(), 10**6, 10**6, [1.0] * 100)
    stage = StageConfig(steps=10, epochs=3, patience=2)
    assert not is_over(stage, 9, 2, [3, 2])
    assert is_over(stage, 10, 0, [])
    assert is_over(stage, 0, 3, [])
    assert is_over(stage, 0, 0, [1, 2, 2])
