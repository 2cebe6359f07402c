"""The demo's page: one HTML file that holds its pictures and sounds, and needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from asr_tutorial import plots
from asr_tutorial.corpus import Corpus, Utterance
from asr_tutorial.demo.template import PAGE
from asr_tutorial.errors import UserError
from asr_tutorial.files import write_whole
from asr_tutorial.metrics import UtteranceResult, differences, worst
from asr_tutorial.model import count_parameters
from asr_tutorial.recognizer import AlignedText, Evaluation, Recognizer, Search

EXAMPLES = 8
WORST = 4
MEDIA_TYPES = {".opus": "audio/ogg", ".ogg": "audio/ogg", ".flac": "audio/flac", ".mp3": "audio/mpeg"}
SEARCHES: dict[Search, str] = {
    "joint": "both heads, beam search",
    "greedy": "attention decoder, greedy",
    "parallel": "all tokens at once",
    "ctc": "CTC head, best path",
}


def write_page(
    path: Path, recognizer: Recognizer, corpus: Corpus, evaluations: Sequence[Evaluation], metrics: Mapping[str, Any]
) -> Path:
    """Write the page.

    Args:
        path: the file to write.
        recognizer: the trained recogniser.
        corpus: the test corpus; it must have sound, not features alone.
        evaluations: one for each search; transcripts are those of the first.
        metrics: the run's ``metrics.json``.
    """
    main = evaluations[0]
    sounds = {utterance.id: utterance for utterance in corpus.utterances if not utterance.has_features}
    results = [result for result in main.results if result.id in sounds]
    examples = pick_examples(results, EXAMPLES)
    wrong = [result for result in worst(results, WORST) if result.words.errors]
    values = {
        "title": escape(recognizer.config.name),
        "summary": _summary(recognizer, corpus, main, metrics),
        "figures": "".join(_figures(evaluation) for evaluation in evaluations),
        "curves": _picture(plots.learning_curves(metrics), "Loss and error rate over the steps of the training"),
        "examples": "".join(_example(result, sounds[result.id]) for result in examples),
        "worst": "".join(_example(result, sounds[result.id]) for result in wrong)
        or "<p>There is no mistake in the whole test set.</p>",
        "close_up": _close_up(recognizer, _clearest(results), sounds) if results else "",
        "environment": _environment(metrics.get("environment", {})),
    }
    page = PAGE
    for name, value in values.items():
        page = page.replace(f"@{name}@", value)
    try:
        write_whole(path, page)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def pick_examples(results: Sequence[UtteranceResult], count: int) -> list[UtteranceResult]:
    """Examples spread evenly over the corpus, and so over its speakers."""
    stride = max(1, len(results) // count)
    return list(results[stride // 2 :: stride][:count])


def corpus_label(corpus: Corpus) -> str:
    """The last two parts of the path: a split alone is often called "test"."""
    return "/".join(corpus.path.parts[-2:])


def _summary(recognizer: Recognizer, corpus: Corpus, main: Evaluation, metrics: Mapping[str, Any]) -> str:
    speakers = len({utterance.speaker for utterance in corpus.utterances if utterance.speaker is not None})
    voices = f" by {speakers} voices" if speakers else ""
    parameters = count_parameters(recognizer.model) / 1e6
    minutes = f"{metrics['train_seconds'] / 60:.1f} minutes" if metrics.get("train_seconds") else "some time"
    return (
        f"A Transformer with {parameters:.1f} million parameters, trained from nothing in {minutes}, was given "
        f"{main.utterances} sentences ({main.audio_seconds / 60:.1f} minutes of speech{voices}) of "
        f"<code>{escape(corpus_label(corpus))}</code> that it had never heard. It took {main.processing_seconds:.1f} s "
        "to write them down."
    )


def _figures(evaluation: Evaluation) -> str:
    return f"""
<div class="figure"><div class="number">{100 * evaluation.wer:.1f}<small>%</small></div>
<div class="name">of words wrong</div><div class="detail">{SEARCHES[evaluation.search]}<br>
characters wrong: {100 * evaluation.cer:.1f} %<br>real-time factor {evaluation.rtf:.3f}</div></div>"""


def _example(result: UtteranceResult, utterance: Utterance) -> str:
    said, heard = [], []
    for part in differences(result.reference, result.hypothesis):
        if part.kind == "equal":
            said.append(escape(part.reference))
            heard.append(escape(part.hypothesis))
            continue
        if part.reference:
            said.append(f"<del>{escape(part.reference)}</del>")
        heard.append(f"<ins>{escape(part.hypothesis)}</ins>" if part.hypothesis else '<ins class="gap">&nbsp;</ins>')
    errors = result.words.errors
    verdict = "no mistake" if not errors else "1 mistake" if errors == 1 else f"{errors} mistakes"
    speaker = f"voice {escape(utterance.speaker)}, " if utterance.speaker else ""
    return f"""
<article class="{"wrong" if errors else "right"}">
{_player(utterance)}
<div class="meta">{speaker}{result.seconds:.1f} s, {verdict}</div>
<dl><dt>said</dt><dd>{" ".join(said)}</dd><dt>heard</dt><dd>{" ".join(heard) or "(nothing)"}</dd></dl>
</article>"""


def _clearest(results: Sequence[UtteranceResult]) -> UtteranceResult:
    """The example to look at closely: as few mistakes as there are, and of about three seconds."""
    return min(results, key=lambda result: (result.words.errors, abs(result.seconds - 3)))


def _close_up(recognizer: Recognizer, result: UtteranceResult, sounds: Mapping[str, Utterance]) -> str:
    """One utterance: its words in time, CTC alignment and attention."""
    utterance = sounds[result.id]
    audio = str(utterance.audio)
    try:
        aligned = recognizer.align(audio, result.hypothesis)
        title = "Mel picture with word boundaries, and CTC posteriors below"
        alignment = _picture(alignment_figure(recognizer, audio, aligned), title)
    except UserError as error:
        # A model that has learnt nothing may write more than the sound has room for.
        return f"<p>The transcript cannot be laid on the sound: {escape(str(error))}</p>"
    words = "".join(
        f'<button class="word" data-start="{word.start:.2f}" data-end="{word.end:.2f}">{escape(word.text)}'
        f"<small>{word.start:.2f}&ndash;{word.end:.2f} s</small></button>"
        for word in aligned.words
    )
    attention = ""
    if "greedy" in recognizer.model.searches:
        tokens, maps = recognizer.attention_maps(audio, result.hypothesis)
        cross = {name: weights for name, weights in maps.items() if name.endswith("cross_attention")}
        name, head, weights = _steadiest(cross)
        title = f"Cross-attention of {name.removesuffix('.cross_attention')}, head {head}: what each token listens to"
        figure = plots.attention_map(weights, tokens, recognizer.encoder_frame_seconds, title=title)
        attention = f"""
<h3>What the decoder attends to</h3>
<p>The decoder writes one token after the other, from top to bottom. Each row shows where in the recording it looked
while it wrote that token: the darker, the more. Nobody told it where the words are. Of the decoder's {len(cross)}
layers with {next(iter(cross.values())).shape[0]} heads each, this is the head that follows the sound most steadily.</p>
{_picture(figure, title)}"""
    return f"""
<div id="closeup">{_player(utterance)}<div class="words">{words}</div></div>
<p>Press a word to hear it alone.</p>
<h3>Where each word was heard</h3>
<p>The CTC head looks at each {1000 * recognizer.encoder_frame_seconds:.0f} ms of sound and says a token or blank
(grey). The best path through these probabilities that says the transcript gives each word its time.</p>
{alignment}{attention}"""


def alignment_figure(recognizer: Recognizer, audio: str, aligned: AlignedText) -> Figure:
    """The words of a recording on its mel picture, and the CTC posteriors that they were found by."""
    features, posteriors, blank = recognizer.token_posteriors(audio, aligned)
    return plots.alignment(
        features,
        [(word.text, word.start, word.end) for word in aligned.words],
        [(token.text, token.start, token.end) for token in aligned.tokens],
        posteriors,
        blank,
        recognizer.frame_seconds,
        recognizer.encoder_frame_seconds,
    )


def _steadiest(maps: Mapping[str, Tensor]) -> tuple[str, int, Tensor]:
    """Name, head and weights (queries, keys) of the head whose looks move forward with the text most steadily."""

    def steadiness(weights: Tensor) -> float:
        values = weights.float().cpu().numpy()
        places = values @ np.arange(values.shape[1])  # where each query looks on average
        if len(places) < 2 or np.ptp(places) == 0:
            return 0.0
        return float(np.corrcoef(places, np.arange(len(places)))[0, 1])

    heads = [(name, head, weights[head]) for name, weights in maps.items() for head in range(len(weights))]
    return max(heads, key=lambda entry: steadiness(entry[2]))


def _environment(environment: Mapping[str, Any]) -> str:
    keys = [key for key in ("command", "date", "device", "cores", "torch", "commit") if environment.get(key)]
    return ", ".join(f"{key} {escape(str(environment[key]))}" for key in keys)


def _player(utterance: Utterance) -> str:
    kind = MEDIA_TYPES.get(utterance.audio.suffix.lower(), "audio/wav")
    data = base64.b64encode(utterance.audio.read_bytes()).decode()
    return f'<audio controls preload="metadata" src="data:{kind};base64,{data}"></audio>'


def _picture(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    plots.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'
