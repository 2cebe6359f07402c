"""Streaming: how late words appear, how many are corrected in the end, and what it costs.

    python benchmarks/streaming.py [--limit N] [--json data/results/benchmarks/streaming.json]

The course's recogniser hears the utterances of TinySpeech's test set as a stream, by :class:`StreamingRecognizer`, for
several partial searches, seconds between two looks, and numbers of hypotheses that must agree. The final search is
greedy in all of them. Measured for each:

- ``stable_share``: words of the final text that were committed before the utterance ended;
- ``corrected_share``: committed words that the final text does not have at their place;
- ``latency``: seconds of audio from the end of a word to the look at which it is committed, mean and 90th percentile;
  words end where CTC aligns the final text, which is up to a tenth of a second after the sound. Waiting for the
  recogniser comes on top: ``look_ms``;
- ``look_ms``: processor time of a look, mean; ``rtf``: processor time of all looks and the final search, over the
  length of the audio, on one thread.

``same_as_offline`` counts final texts that equal those of ``Recognizer.transcribe``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, finish, significant
from speech import checkpoint

from asr_tutorial.audio import Samples, read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.recognizer import Recognizer, Search
from asr_tutorial.recognizer.results import TimedText, Transcript
from asr_tutorial.serve.streaming import Partial, StreamingRecognizer

SEARCHES: tuple[Search, ...] = ("greedy", "ctc")
STEPS = (0.25, 0.5, 1.0)
AGREEMENTS = (1, 2, 3)
FINAL: Search = "greedy"
HEAD = ("search", "step", "agree", "stable", "corrected", "latency", "p90", "look ms", "rtf", "offline")


class Ear:
    """A recogniser that remembers the looks at one utterance: they are the same for every agreement."""

    def __init__(self, recognizer: Recognizer, search: Search) -> None:
        self.recognizer, self.search = recognizer, search
        self.looks: dict[int, tuple[str, float]] = {}
        self.spent: list[float] = []

    def listen(self, samples: Samples) -> str:
        if len(samples) not in self.looks:
            start = time.process_time()
            text = self.recognizer.transcribe(samples, search=self.search).text
            self.looks[len(samples)] = text, time.process_time() - start
        text, seconds = self.looks[len(samples)]
        self.spent.append(seconds)
        return text


def compared(stable: Sequence[str], final: Sequence[str]) -> list[tuple[int, int]]:
    """Places in both texts of the committed words that the final text has too."""
    blocks = SequenceMatcher(None, stable, final, autojunk=False).get_matching_blocks()
    return [(block.a + offset, block.b + offset) for block in blocks for offset in range(block.size)]


def appearance(partials: Sequence[Partial], place: int) -> float:
    """Seconds of audio after which the committed word at a place was there."""
    return next(partial.seconds for partial in partials if len(partial.stable.split()) > place)


def measure(
    recognizer: Recognizer, recordings: Sequence[Samples], words: Sequence[Sequence[TimedText]], search: Search
) -> list[dict[str, Any]]:
    """One row for each step and agreement."""
    rate = recognizer.sample_rate
    ears = [Ear(recognizer, search) for _ in recordings]
    final_seconds: list[float] = []

    def conclude(samples: Samples) -> Transcript:
        start = time.process_time()
        transcript = recognizer.transcribe(samples, search=FINAL)
        final_seconds.append(time.process_time() - start)
        return transcript

    rows = []
    for step in STEPS:
        for agreement in AGREEMENTS:
            committed = corrected = spoken = same = 0
            latencies: list[float] = []
            looks: list[float] = []
            final_seconds.clear()
            for ear, samples, offline in zip(ears, recordings, words, strict=True):
                ear.spent = []
                stream = StreamingRecognizer(ear.listen, conclude, rate, step, agreement=agreement)
                partials = stream.feed(samples)
                text = " ".join(piece.result.text for piece in stream.finish())
                stable = partials[-1].stable.split() if partials else []
                pairs = compared(stable, text.split())
                same += text == " ".join(word.text for word in offline)
                spoken, committed = spoken + len(offline), committed + len(stable)
                corrected += len(stable) - len(pairs)
                latencies += [appearance(partials, a) - offline[b].end for a, b in pairs]
                looks += ear.spent
            seconds = sum(map(len, recordings)) / rate
            # Quantiles want two values; where few words are spoken, none may have been committed before the end.
            tenths = statistics.quantiles(latencies, n=10) if len(latencies) > 1 else latencies
            row = {
                "partial_search": search,
                "step_seconds": step,
                "agreement": agreement,
                "stable_share": significant(committed / spoken, 3),
                "corrected_share": significant(corrected / max(committed, 1), 3),
                "latency_mean": significant(statistics.mean(latencies), 3) if latencies else None,
                "latency_p90": significant(tenths[-1], 3) if latencies else None,
                "look_ms": significant(1000 * statistics.mean(looks), 3),
                "rtf": significant((sum(looks) + sum(final_seconds)) / seconds, 3),
                "same_as_offline": f"{same} of {len(recordings)}",
            }
            rows.append(row)
            print("  ".join(f"{value!s:>9}" for value in row.values()), flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="only so many utterances")
    parser.add_argument("--json", type=Path, default=RESULTS / "streaming.json", help="where the record goes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recognizer = checkpoint("tinyspeech")
    utterances = read_corpus("tinyspeech/test").utterances[: options.limit]
    recordings = [read_audio(utterance.audio, recognizer.sample_rate) for utterance in utterances]
    words = [recognizer.align(samples, search=FINAL).words for samples in recordings]
    print("  ".join(f"{name:>9}" for name in HEAD))
    rows = [row for search in SEARCHES for row in measure(recognizer, recordings, words, search)]
    finish(
        options.json,
        [],
        utterances=len(utterances),
        audio_seconds=round(sum(utterance.seconds for utterance in utterances), 1),
        final_search=FINAL,
        rows=rows,
    )


if __name__ == "__main__":
    main()
