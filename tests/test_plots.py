"""Pictures: axes carry units, the data is where it belongs, and no display or pyplot state is needed."""

import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from asr_tutorial import plots


def labels(figure):
    return [(axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]


@pytest.fixture
def features():
    return torch.rand(200, 80)


def run_metrics():
    dev = {"tinyspeech/dev": {"wer": 0.5, "cer": 0.25, "loss": 1.0}}
    return {
        "validations": [
            {"step": 10, "train": {"loss": 2.0}, "dev": dev},
            {"step": 20, "train": {"loss": 1.0}, "dev": dev},
        ]
    }


def test_mel_has_seconds_and_mel_bins(features, tmp_path):
    figure = plots.mel(features, title="a title")
    assert labels(figure)[0] == ("a title", "time (s)", "mel bin")
    image = figure.axes[0].images[0]
    assert image.get_extent() == [0, 2.0, 0, 80]
    np.testing.assert_allclose(image.get_array(), features.T.numpy())
    figure.savefig(tmp_path / "mel.png")
    assert (tmp_path / "mel.png").stat().st_size > 5000


def test_attention_map_has_tokens_and_seconds():
    weights = torch.softmax(torch.randn(3, 50), dim=-1)
    figure = plots.attention_map(weights, ["A", "B", "<eos>"], 0.04, title="t")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["A", "B", "<eos>"]
    assert axes.images[0].get_extent() == [0, 2.0, 3, 0]
    assert "time (s)" in axes.get_xlabel()
    assert "token" in axes.get_ylabel()


def test_attention_between_frames_has_seconds_on_both_axes():
    axes = plots.attention_map(np.eye(100), 0.04, 0.04).axes[0]
    assert axes.images[0].get_extent() == [0, 4.0, 4.0, 0]
    assert "time (s)" in axes.get_xlabel()
    assert "time (s)" in axes.get_ylabel()


def test_many_tokens_get_fewer_ticks():
    axes = plots.attention_map(np.ones((300, 10)), ["A"] * 300, 0.04).axes[0]
    assert len(axes.get_yticks()) <= 80


def test_alignment_shows_words_and_posteriors(features):
    posteriors = np.zeros((50, 3))
    posteriors[[5, 10, 20], [0, 1, 2]] = 1
    tokens = [("H", 0.2, 0.24), ("I", 0.4, 0.44), ("▁", 0.8, 0.84)]
    figure = plots.alignment(features, [("HI", 0.2, 0.44)], tokens, posteriors, 1 - posteriors.sum(1), 0.01, 0.04)
    top, bottom = figure.axes[:2]
    assert [text.get_text() for text in top.texts] == ["HI"]
    assert [text.get_text() for text in bottom.texts] == ["H", "I"]  # a space has no sound to point at
    assert bottom.texts[0].get_position()[0] == pytest.approx(5.5 * 0.04)
    assert bottom.get_xlim() == (0, 2.0)
    assert bottom.get_xlabel() == "time (s)"


def test_learning_curves_from_a_run_folder(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(run_metrics()))
    figure = plots.learning_curves(tmp_path)
    loss, errors = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "tinyspeech/dev"]
    np.testing.assert_allclose(loss.lines[0].get_xydata(), [[10, 2.0], [20, 1.0]])
    np.testing.assert_allclose(errors.lines[0].get_ydata(), [50, 50])
    assert "(%)" in errors.get_ylabel()
    assert "step" in loss.get_xlabel()
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle()


def test_a_training_loss_that_was_not_recorded_is_not_drawn():
    metrics = run_metrics()
    metrics["validations"][0]["train"]["loss"] = 0.0
    np.testing.assert_allclose(plots.learning_curves(metrics).axes[0].lines[0].get_xydata(), [[20, 1.0]])
    metrics["validations"][1]["train"]["loss"] = 0.0
    assert [line.get_label() for line in plots.learning_curves(metrics).axes[0].lines] == ["tinyspeech/dev"]


def test_learning_curves_show_where_stages_began():
    dev = {"dev": {"loss": 1.0, "wer": 0.5, "cer": 0.5}}
    began = {5: 0, 10: 0, 15: 12, 20: 12}
    validations = [{"step": step, "train": {"loss": 1.0}, "dev": dev, "stage_began": at} for step, at in began.items()]
    for axes in plots.learning_curves({"validations": validations}).axes:
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linewidth() == 0.8] == [12]


def test_learning_curves_before_the_first_validation():
    assert plots.learning_curves({"validations": []}).axes[0].get_title(loc="left") == "No validation yet"


def test_length_histogram_counts_all_utterances():
    figure = plots.length_histogram([1.0, 2.0, 2.5, 10.0], bins=5)
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 4
    assert labels(figure)[0][1:] == ("length (s)", "utterances")


def test_drawing_into_given_axes_and_the_style_stays_inside(features):
    before = dict(matplotlib.rcParams)
    figure = Figure()
    axes = figure.subplots()
    assert plots.mel(features, axes=axes) is figure
    assert dict(matplotlib.rcParams) == before
    with plots.style():
        assert matplotlib.rcParams["axes.spines.top"] is False
    plots.close(figure)


def test_neither_display_nor_pyplot_is_needed(tmp_path):
    code = (
        "import sys, numpy as np; from asr_tutorial import plots;"
        "plots.mel(np.random.rand(50, 80)).savefig(sys.argv[1]); print('matplotlib.pyplot' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True)
    assert out.stdout.strip() == "False", out.stderr


def test_in_a_notebook_figures_belong_to_pyplot(monkeypatch, features):
    from matplotlib import pyplot

    monkeypatch.setitem(sys.modules, "ipykernel", matplotlib)
    backend = matplotlib.get_backend()
    figure = plots.mel(features)
    assert pyplot.fignum_exists(figure.number)
    plots.close(figure)
    assert not pyplot.fignum_exists(figure.number)
    assert matplotlib.get_backend() == backend


def test_trellis_has_states_frames_and_a_path():
    values = torch.softmax(torch.randn(6, 5), dim=-1)
    axes = plots.trellis(values, list("_A_B_"), path=torch.tensor([0, 1, 1, 2, 3, 4])).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list("_A_B_")
    assert axes.images[0].get_extent() == [-0.5, 5.5, 5, 0]
    assert axes.lines[0].get_xydata()[2].tolist() == [2.0, 1.5], "frame 2 in state 1, in the middle of its field"
    timed = plots.trellis(values, list("_A_B_"), frame_seconds=0.04, start_seconds=0.01).axes[0]
    np.testing.assert_allclose(timed.images[0].get_extent(), [0.01, 0.25, 5, 0])
    assert "time (s)" in timed.get_xlabel()


def test_a_weight_sweep_draws_no_two_bonuses_alike():
    rows = [
        {"lm_weight": weight, "token_bonus": bonus, "ctc_weight": 0.3, "wer": 0.5 - 0.01 * bonus}
        for bonus in range(len(plots.COLORS) + 2)
        for weight in (0.0, 0.5)
    ]
    (axes,) = plots.weight_sweep(rows).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [str(bonus) for bonus in range(2, len(plots.COLORS) + 2)], "the best ones, in order"
