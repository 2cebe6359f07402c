"""The pictures that a run draws. matplotlib takes seconds to load, so only what draws loads it."""

from __future__ import annotations

from asr_tutorial.model import MeasuredOutput
from asr_tutorial.recognizer import evaluating
from asr_tutorial.training.run import RunFolder
from asr_tutorial.training.setup import Data
from asr_tutorial.training.step import Stepper


def draw_attention(run: RunFolder, stepper: Stepper, data: Data, step: int) -> None:
    """What the last layer of the decoder looks at, for one utterance of the first dev set; nothing without decoder."""
    if stepper.model.decoder is None or not run.writes:
        return
    from asr_tutorial import plots

    batch = data.sample.to(stepper.device)
    with evaluating(stepper.model):
        output = stepper.model(*stepper.model.training_inputs(batch), need_weights=True)
    last = [name for name in output.attention_maps if name.endswith("cross_attention")][-1]
    answers = output.answers[0] if isinstance(output, MeasuredOutput) else batch.tokens_out[0]
    length, frames = int((answers != data.tokenizer.pad_id).sum()), int(output.encoder_mask[0].sum())
    weights = output.attention_maps[last][0, :, :length, :frames].mean(dim=0)  # (length, frames)
    tokens = [data.tokenizer.id_to_token(token) for token in answers[:length].tolist()]
    frame_seconds = run.config.features.frame_shift_ms / 1000 * stepper.model.subsampling_factor
    figure = plots.attention_map(weights.float().cpu(), tokens, frame_seconds, title=f"{last}, mean of the heads")
    run.log_figure("attention", figure, step)
    plots.close(figure)


def draw_learning_curves(run: RunFolder, step: int) -> None:
    """Losses and error rates of the run so far."""
    if not run.writes:
        return
    from asr_tutorial import plots

    figure = plots.learning_curves(run.metrics)
    run.log_figure("learning_curves", figure, step)
    plots.close(figure)
