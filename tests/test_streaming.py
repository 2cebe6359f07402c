"""Streaming: what is committed stands, how audio is cut into pieces changes nothing, work and memory are bounded."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

import asr_tutorial
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.errors import AudioError, ConfigError
from asr_tutorial.serve.streaming import StablePrefix, StreamingRecognizer, agreed_prefix

RATE = 1000


@dataclass
class Said:
    text: str


class Counter:
    """A recogniser whose text is the numbers of the half seconds that it hears; it keeps what it was given.

    The audio of half second n has the value n + 1, so that the text does not depend on where a window begins. The last
    half second of a partial result is heard wrongly.
    """

    def __init__(self):
        self.windows, self.pieces = [], []

    def words(self, samples):
        return [f"{value:.0f}" for value in samples[:: RATE // 2]]

    def listen(self, samples):
        self.windows.append(samples)
        return " ".join([*self.words(samples)[:-1], "MUMBLE"])

    def conclude(self, samples):
        self.pieces.append(samples)
        return Said(" ".join(self.words(samples)))

    def stream(self, **settings):
        return StreamingRecognizer(self.listen, self.conclude, RATE, **settings)


def counted(half_seconds):
    """Audio for :class:`Counter`."""
    return np.repeat(np.arange(1, half_seconds + 1, dtype=np.float32), RATE // 2)


def with_pauses(half_seconds, every=6):
    """The same with silence in each sixth half second, which is heard as a 0."""
    audio = counted(half_seconds).reshape(-1, RATE // 2)
    audio[every - 1 :: every] = 0
    return audio.ravel()


class TestAgreement:
    def test_the_common_beginning_of_all(self):
        assert agreed_prefix([["A", "B", "C"], ["A", "B", "D", "C"], ["A", "B"]]) == ["A", "B"]
        assert agreed_prefix([["A"], ["B"]]) == agreed_prefix([[], ["A"]]) == agreed_prefix([]) == []

    def test_two_in_a_row_commit_and_nothing_is_taken_back(self):
        stable = StablePrefix()
        assert stable.update(["THE", "CAR"]) == ["THE", "CAR"]
        assert stable.words == []
        assert stable.update(["THE", "CARPET", "IS"]) == ["CARPET", "IS"]
        assert stable.words == ["THE"]
        assert stable.update(["A", "CARPET", "IS", "READ"]) == ["CARPET", "IS", "READ"]
        assert stable.update(["A", "CARPET", "IS", "RED"]) == ["RED"]
        assert stable.words == ["THE", "CARPET", "IS"], "the first word stands, although it is heard otherwise now"
        assert stable.update([]) == []
        assert stable.words == ["THE", "CARPET", "IS"]

    def test_how_many_must_agree(self):
        eager, patient = StablePrefix(1), StablePrefix(3)
        for _ in range(2):
            assert eager.update(["A"]) == []
            assert patient.update(["A"]) == ["A"]
        patient.update(["A"])
        assert patient.words == ["A"]


class TestStream:
    def test_what_becomes_stable_and_when(self):
        partials = Counter().stream().feed(counted(4))
        assert [(p.stable, p.unstable, p.seconds) for p in partials] == [
            ("", "MUMBLE", 0.5),
            ("", "1 MUMBLE", 1.0),
            ("1", "2 MUMBLE", 1.5),
            ("1 2", "3 MUMBLE", 2.0),
        ]

    @pytest.mark.parametrize("sizes", [[1], [7, 500, 1], [499], [501], [1700], [30_000]])
    def test_how_the_audio_is_cut_changes_nothing(self, sizes):
        audio, settings = with_pauses(43), {"window_seconds": 4.0}
        whole, cut = Counter(), Counter()
        expected = whole.stream(**settings)
        partials = expected.feed(audio)
        stream, got, place = cut.stream(**settings), [], 0
        while place < len(audio):
            size = sizes[len(got) % len(sizes)]
            got += stream.feed(audio[place : place + size])
            place += size
        assert got == partials
        assert stream.finish() == expected.finish()

    def test_an_utterance_within_the_window_is_concluded_whole(self):
        counter = Counter()
        stream = counter.stream()
        audio = counted(16)[:-3]
        stream.feed(audio)
        (piece,) = stream.finish()
        assert piece.start == 0
        assert len(counter.pieces) == 1
        assert np.array_equal(counter.pieces[0], audio)

    def test_a_long_one_is_cut_at_pauses_and_no_sample_is_lost(self):
        counter = Counter()
        stream = counter.stream(window_seconds=4.0)
        audio = with_pauses(75)
        stable = ""
        for partial in stream.feed(audio):
            assert partial.stable.startswith(stable)
            stable = partial.stable
        pieces = stream.finish()
        assert np.array_equal(np.concatenate(counter.pieces), audio)
        ends = np.cumsum([len(piece) for piece in counter.pieces])
        assert [piece.start for piece in pieces] == [0, *(ends[:-1] / RATE)]
        assert len(pieces) > 8
        assert not audio[ends[:-1]].any(), "the cuts lie in the silences"
        assert max(len(window) for window in counter.windows) <= 4.5 * RATE, "no look at more than the window"
        committed = stable.split()
        assert len(committed) >= 70
        right = [
            a == b for a, b in zip(committed, " ".join(piece.result.text for piece in pieces).split(), strict=False)
        ]
        assert np.mean(right) > 0.8, "counting words carries over a cut (a cut within a silence may hear it twice)"

    def test_memory_does_not_grow(self):
        counter = Counter()
        stream = counter.stream(window_seconds=2.0)
        size = stream._buffer.nbytes
        for _ in range(50):
            stream.feed(counted(7))
        assert stream._buffer.nbytes == size == 4 * 2.5 * RATE
        assert stream.seconds == 175.0

    def test_the_recogniser_may_keep_what_it_gets(self):
        counter = Counter()
        counter.stream(window_seconds=2.0).feed(counted(20))
        assert [window[0] for window in counter.windows[:4]] == [1, 1, 1, 1], "the buffer has moved on since then"

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"window_seconds": 0.5}, "window_seconds must be 1 to 30"),
            ({"window_seconds": float("nan")}, "window_seconds"),
            ({"step_seconds": 0.01}, "step_seconds must be 0.1"),
            ({"step_seconds": 9.0}, "step_seconds"),
            ({"agreement": 0}, "agreement must be 1 or more"),
        ],
    )
    def test_impossible_settings(self, settings, sentence):
        with pytest.raises(ConfigError, match=sentence):
            Counter().stream(**settings)


@pytest.fixture(scope="module")
def recognizer():
    return asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "tinyspeech", device="cpu")


class TestSpeech:
    def test_the_end_is_the_offline_result(self, recognizer):
        for utterance in read_corpus("tinyspeech/dev").utterances[:3]:
            audio = read_audio(utterance.audio)
            stream = StreamingRecognizer.of(recognizer, 16_000)
            partials = [
                partial for start in range(0, len(audio), 1600) for partial in stream.feed(audio[start : start + 1600])
            ]
            (piece,) = stream.finish()
            assert piece.result == recognizer.transcribe(audio)
            assert len(partials) == int(utterance.seconds / 0.5)
            assert partials[-1].stable, "something is known before the end"
            assert all(after.stable.startswith(before.stable) for before, after in pairwise(partials))

    def test_too_little_audio_is_an_error_that_says_so(self, recognizer):
        stream = StreamingRecognizer.of(recognizer, 16_000)
        assert stream.feed(np.zeros(100, dtype=np.float32)) == []
        with pytest.raises(AudioError, match=r"at least 0\.1 s"):
            stream.finish()
