"""The recogniser itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from asr_tutorial import metrics
from asr_tutorial.audio import Samples, split_at_pauses
from asr_tutorial.checkpoint import load_checkpoint, save_checkpoint
from asr_tutorial.config import Config
from asr_tutorial.corpus import Corpus, Skip, Utterance, read_corpus
from asr_tutorial.ctc import forced_align
from asr_tutorial.errors import AudioError, ConfigError, CorpusError, TextError, UserError
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.recognizer.decoding import (
    FeatureBatch,
    check_search,
    decode_batch,
    evaluating,
    joined,
    word_positions,
)
from asr_tutorial.recognizer.inputs import MAX_SECONDS, Audio, batches, duration, read_features, waveform
from asr_tutorial.recognizer.results import (
    AlignedText,
    Decoded,
    Evaluation,
    Search,
    TimedText,
    Transcript,
)
from asr_tutorial.search import SearchOptions
from asr_tutorial.tokenizer import Tokenizer


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` is the GPU where there is one, else the CPU.

    Raises:
        ConfigError: no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"cannot use device {device!r}: use auto, cpu, cuda or cuda:0 ({error})") from error
    return chosen


def load(folder: str | Path, device: str = "auto") -> Recognizer:
    """A recogniser from a checkpoint folder or a run folder.

    Raises:
        CheckpointError: the folder holds no checkpoint, or one that is incomplete or corrupt.
    """
    return Recognizer(*load_checkpoint(folder, pick_device(device)))


class Recognizer:
    """A model with its tokenizer and feature extractor.

    Args:
        model: from :func:`asr_tutorial.model.build_model`.
        tokenizer: the one that the model was trained with.
        config: the configuration that the model was built from.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, config: Config) -> None:
        self.model = cast(SpeechTransformer, model)
        self.tokenizer = tokenizer
        self.config = config
        # Dither is for training: recognition gives the same text each time.
        self._extractor = FeatureExtractor(replace(config.features, dither=0.0))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def sample_rate(self) -> int:
        """Samples per second that the model works with; other rates are resampled to it."""
        return self.config.features.sample_rate

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Write a checkpoint that :func:`load` reads.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written.
        """
        save_checkpoint(folder, self.model, self.tokenizer, self.config, half=half)

    @overload
    def transcribe(
        self, audio: Audio, sample_rate: int | None = ..., search: Search = ..., options: SearchOptions | None = ...
    ) -> Transcript: ...

    @overload
    def transcribe(
        self,
        audio: list[Any] | tuple[Any, ...],
        sample_rate: int | None = ...,
        search: Search = ...,
        options: SearchOptions | None = ...,
    ) -> list[Transcript]: ...

    def transcribe(
        self,
        audio: Audio | list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        search: Search = "greedy",
        options: SearchOptions | None = None,
    ) -> Transcript | list[Transcript]:
        """Recognise speech.

        Audio of more than 30 s is split at pauses and the texts are joined. A list is recognised in batches, which
        is faster than one after the other and gives the same texts.

        Args:
            audio: a file that libsndfile reads, at any sample rate, mono or stereo; or an array or tensor of samples
                (samples,), (samples, channels) or (channels, samples), floats in [-1, 1] or integers; or a list or
                tuple of these.
            sample_rate: of samples, in Hz; None: the model's own (16 kHz by default). Files know their rate.
            search: ``"greedy"``, ``"ctc"``, ``"prefix"``, ``"attention"`` or ``"joint"``, see :func:`decode_batch`.
            options: of the last three, which are beam searches: beam size, alternatives, penalties.

        Returns:
            A :class:`Transcript`; for a list one each, in its order.

        Raises:
            AudioError: a file is missing or corrupt, or audio is empty, too short or not finite.
            ConfigError: as :func:`decode_batch`.
        """
        check_search(self.model, search, options)
        items: list[Audio] = list(audio) if isinstance(audio, list | tuple) else [audio]
        seconds = [duration(item, sample_rate or self.sample_rate) for item in items]
        transcripts: dict[int, Transcript] = {}
        for group in batches(seconds, self.config.data.batch_seconds):
            inputs = [self._features(self._waveform(items[index], sample_rate)) for index in group]
            for index, decoded in zip(group, self._decode(inputs, search, options), strict=True):
                transcripts[index] = Transcript(
                    decoded.text, decoded.score, seconds[index], decoded.tokens, decoded.words, decoded.n_best
                )
        ordered = [transcripts[index] for index in range(len(items))]
        return ordered if isinstance(audio, list | tuple) else ordered[0]

    def align(
        self,
        audio: Audio,
        text: str | None = None,
        sample_rate: int | None = None,
        search: Search = "greedy",
    ) -> AlignedText:
        """When each word and token was spoken, by the best path through the CTC head's posteriors (Viterbi).

        CTC posteriors are peaks: a token's time is where the model is sure of it, which is shorter than the sound and
        may be a tenth of a second behind it. Nothing in the loss says when a token should come, and a model may find it
        easier to wait; chapter 07 shows how much ours does. The time of a frame is that of the middle of what it looks
        at. A frame of the encoder is 40 ms by default.

        Args:
            audio: as for :meth:`transcribe`.
            text: what is said; None: what is recognised.
            sample_rate: of samples, in Hz.
            search: how the text is recognised when it is not given.

        Raises:
            AudioError: as :meth:`transcribe`, or a text is given for audio of more than 30 s.
            TextError: the text has characters that the tokenizer lacks, or more tokens than the audio has frames.
        """
        samples = self._waveform(audio, sample_rate)
        seconds = len(samples) / self.sample_rate
        if text is not None and seconds > MAX_SECONDS:
            raise AudioError(
                f"{seconds:.1f} s of audio are too long to align with a given text: at most {MAX_SECONDS:g} s; split "
                "audio and text, or leave the text out"
            )
        aligned = AlignedText("", [], [])
        for start, end in split_at_pauses(samples, self.sample_rate, MAX_SECONDS):
            features = self._extract(samples[start:end])
            piece = self._align_features(features, text, search, offset=start / self.sample_rate)
            aligned = AlignedText(
                f"{aligned.text} {piece.text}".strip(), aligned.words + piece.words, aligned.tokens + piece.tokens
            )
        return aligned

    def evaluate(
        self,
        corpus: Corpus | str | Path,
        search: Search = "greedy",
        limit: int | None = None,
        batch_seconds: float | None = None,
        on_progress: Callable[[int], object] | None = None,
        options: SearchOptions | None = None,
    ) -> Evaluation:
        """Error rates of a corpus.

        Args:
            corpus: one already read, or what :func:`asr_tutorial.corpus.read_corpus` reads.
            search: as for :meth:`transcribe`.
            limit: only the first so many utterances.
            batch_seconds: audio in a batch; None: as in training.
            on_progress: called with the number of utterances after each batch.
            options: as for :meth:`transcribe`.

        Returns:
            The figures; utterances that cannot be used (unreadable audio, no transcript) are in ``skipped``.

        Raises:
            CorpusError: no utterance can be used.
        """
        check_search(self.model, search, options)
        corpus = corpus if isinstance(corpus, Corpus) else read_corpus(corpus)
        skipped = list(corpus.skipped)
        utterances = []
        for utterance in corpus.utterances[:limit]:
            if utterance.text is None:
                skipped.append(Skip(utterance.id, "it has no transcript"))
            else:
                utterances.append(utterance)
        started = time.perf_counter()
        results: dict[int, metrics.UtteranceResult] = {}
        found: dict[int, Decoded] = {}
        budget = batch_seconds or self.config.data.batch_seconds
        for group in batches([utterance.seconds for utterance in utterances], budget):
            usable, inputs = [], []
            for index in group:
                try:
                    inputs.append(self._read(utterances[index]))
                    usable.append(index)
                except UserError as error:
                    skipped.append(Skip(utterances[index].id, str(error)))
            for index, decoded in zip(usable, self._decode(inputs, search, options), strict=True):
                utterance, found[index] = utterances[index], decoded
                # The reference in the tokenizer's letter case: a transcript in lower case is not a wrong one.
                results[index] = metrics.UtteranceResult(
                    utterance.id, self.tokenizer.normalize(utterance.text or ""), decoded.text, utterance.seconds
                )
            if on_progress is not None:
                on_progress(len(group))
        processing_seconds = time.perf_counter() - started
        if not results:
            reasons = "; ".join(f"{skip.id}: {skip.reason}" for skip in skipped[:3])
            raise CorpusError(f"no utterance of the corpus can be evaluated ({reasons or 'it is empty'})")
        ordered = [results[index] for index in sorted(results)]
        references = [result.reference for result in ordered]
        hypotheses = [result.hypothesis for result in ordered]
        return Evaluation(
            words=metrics.error_counts(references, hypotheses, "word"),
            characters=metrics.error_counts(references, hypotheses, "char"),
            audio_seconds=sum(result.seconds for result in ordered),
            processing_seconds=processing_seconds,
            search=search,
            results=ordered,
            skipped=skipped,
            decoded=[found[index] for index in sorted(results)],
        )

    def ctc_posteriors(self, audio: Audio, sample_rate: int | None = None) -> tuple[Tensor, Tensor]:
        """What the CTC head hears, for a picture.

        Args:
            audio: as for :meth:`transcribe`, of at most 30 s.
            sample_rate: of samples, in Hz.

        Returns:
            features (frames, n_mels), raw log-mel, and log-probabilities (encoder_frames, vocab).

        Raises:
            AudioError: as :meth:`transcribe`, or the audio is too long.
        """
        features = self._one_piece(audio, sample_rate)
        return features, self._ctc_log_probs(self._collate([features]))

    def token_posteriors(self, audio: Audio, aligned: AlignedText) -> tuple[Tensor, Tensor, Tensor]:
        """How probable the CTC head finds each token of an aligned text, for :func:`asr_tutorial.plots.alignment`.

        Returns:
            features (frames, n_mels), probabilities of the tokens (encoder_frames, tokens), of blank (encoder_frames,).
        """
        features, log_probs = self.ctc_posteriors(audio)
        ids = self._encode(aligned.text)
        return features, log_probs[:, ids].exp(), log_probs[:, self.tokenizer.blank_id].exp()

    def attention_maps(
        self, audio: Audio, text: str | None = None, sample_rate: int | None = None
    ) -> tuple[list[str], dict[str, Tensor]]:
        """Where each token of a text looks.

        Args:
            audio: as for :meth:`transcribe`, of at most 30 s.
            text: what the decoder is given; None: what greedy search recognises.
            sample_rate: of samples, in Hz.

        Returns:
            The tokens that the decoder's positions predict, ``<eos>`` last, and attention weights
            (heads, queries, keys) by name, such as ``decoder.1.cross_attention``.

        Raises:
            AudioError: as :meth:`transcribe`, or the audio is too long.
            ConfigError: the model has no decoder.
            TextError: the text has characters that the tokenizer lacks.
        """
        check_search(self.model, "greedy")
        batch = self._collate([self._one_piece(audio, sample_rate)])
        if text is None:
            text = decode_batch(self.model, self.tokenizer, batch, "greedy")[0].text
        ids = self._encode(text)
        tokens_in = torch.tensor([[self.tokenizer.sos_id, *ids]], device=self.device)
        with evaluating(self.model):
            output = self.model(batch.features, batch.feature_lengths, tokens_in, need_weights=True)
        frames = int(output.encoder_mask.sum())
        maps = {}
        for name, weights in output.attention_maps.items():
            weights = weights[0]  # (heads, queries, keys)
            if name.startswith("encoder"):
                weights = weights[:, :frames, :frames]
            elif name.endswith("cross_attention"):
                weights = weights[:, :, :frames]
            maps[name] = weights
        return [self.tokenizer.id_to_token(token) for token in [*ids, self.tokenizer.eos_id]], maps

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of the features to the next."""
        return self.config.features.frame_shift_ms / 1000

    @property
    def encoder_frame_seconds(self) -> float:
        """Seconds from one frame of the encoder to the next."""
        return self.frame_seconds * self.model.subsampling_factor

    @property
    def encoder_start_seconds(self) -> float:
        """Where the first frame of the encoder begins, if each is as long as the step from one to the next.

        Its middle is that of what it looks at. The middle of a feature frame is half a window behind its start. A
        convolution of stride 2 lies around every other frame, the first one to begin with; pooling and LSTMs take
        frames in groups.
        """
        first = 0.0 if self.config.model.subsampling == "conv" else (self.model.subsampling_factor - 1) / 2
        middle = self.config.features.frame_length_ms / 2000 + first * self.frame_seconds
        return middle - self.encoder_frame_seconds / 2

    def _align_features(self, features: Tensor, text: str | None, search: Search, offset: float) -> AlignedText:
        """Align one piece, (frames, n_mels), that starts ``offset`` seconds into the audio."""
        batch = self._collate([features])
        if text is None:
            text = decode_batch(self.model, self.tokenizer, batch, search)[0].text
        ids = self._encode(text)
        log_probs = self._ctc_log_probs(batch)
        try:
            alignment = forced_align(log_probs, torch.tensor(ids, dtype=torch.long), self.tokenizer.blank_id)
        except ValueError as error:
            raise TextError(f"the text does not fit the audio: {error}; is it what is said there?") from error
        step, first = self.encoder_frame_seconds, self.encoder_start_seconds
        tokens = [
            TimedText(
                self.tokenizer.id_to_token(token),
                offset + max(first + start * step, 0.0),
                offset + first + end * step,
                score,
            )
            for token, (start, end), score in zip(ids, alignment.spans, alignment.scores, strict=True)
        ]
        return AlignedText(text, self._words(ids, tokens), tokens)

    def _encode(self, text: str) -> list[int]:
        if unknown := self.tokenizer.unknown_characters([text]):
            raise TextError(f"the model does not know {', '.join(map(repr, unknown))}: leave them out of the text")
        return self.tokenizer.encode(text)

    def _ctc_log_probs(self, batch: FeatureBatch) -> Tensor:
        """Log-probabilities (encoder_frames, vocab) of the only utterance of a batch."""
        with evaluating(self.model):
            encoder_out, encoder_mask = self.model.encode(batch.features, batch.feature_lengths)
            return self.model.ctc_log_probs(encoder_out)[0, encoder_mask[0]]

    def _one_piece(self, audio: Audio, sample_rate: int | None) -> Tensor:
        """Features (frames, n_mels) of audio that must not be split."""
        samples = self._waveform(audio, sample_rate)
        seconds = len(samples) / self.sample_rate
        if seconds > MAX_SECONDS:
            raise AudioError(f"{seconds:.1f} s of audio are too long for a picture: at most {MAX_SECONDS:g} s")
        return self._extract(samples)

    def _words(self, ids: list[int], tokens: list[TimedText]) -> list[TimedText]:
        """Join the tokens of each word."""
        members = [[tokens[position] for position in group] for group in word_positions(self.tokenizer, ids)]
        texts = self.tokenizer.decode(ids).split()
        return [
            TimedText(text, group[0].start, group[-1].end, sum(token.score for token in group) / len(group))
            for text, group in zip(texts, members, strict=True)
        ]

    def _waveform(self, audio: Audio, sample_rate: int | None) -> Samples:
        return waveform(audio, sample_rate or self.sample_rate, self.sample_rate)

    def _features(self, samples: Samples) -> list[Tensor]:
        """Features (frames, n_mels) of each piece of a recording."""
        pieces = split_at_pauses(samples, self.sample_rate, MAX_SECONDS)
        return [self._extract(samples[start:end]) for start, end in pieces]

    def _extract(self, samples: Samples) -> Tensor:
        """(samples,) -> (frames, n_mels) on the model's device."""
        return self._extractor(torch.from_numpy(samples)[None].to(self.device))[0][0]

    def _read(self, utterance: Utterance) -> list[Tensor]:
        """Features of each piece of an utterance, computed from its audio or read as they lie."""
        if utterance.has_features:
            return [torch.from_numpy(read_features(utterance, self.config.features.n_mels))]
        return self._features(self._waveform(utterance.audio, None))

    def _collate(self, pieces: Sequence[Tensor]) -> FeatureBatch:
        """Pad (frames, n_mels) pieces to one of a few lengths, since kernels are built anew for each new shape."""
        lengths = torch.tensor([len(piece) for piece in pieces], device=self.device)
        multiple = self.config.data.frame_multiple
        time = -(-int(lengths.max()) // multiple) * multiple
        features = torch.zeros(len(pieces), time, pieces[0].shape[1], device=self.device)
        for row, piece in zip(features, pieces, strict=True):
            row[: len(piece)] = piece
        return FeatureBatch(features, lengths)

    def _decode(
        self, inputs: Sequence[Sequence[Tensor]], search: Search, options: SearchOptions | None
    ) -> list[Decoded]:
        """Recognise recordings given as pieces; the texts of a recording's pieces are joined."""
        pieces = [piece for pieces in inputs for piece in pieces]
        decoded: dict[int, Decoded] = {}
        for group in batches([len(piece) * self.frame_seconds for piece in pieces], self.config.data.batch_seconds):
            batch = self._collate([pieces[index] for index in group])
            found = decode_batch(self.model, self.tokenizer, batch, search, options)
            decoded.update(zip(group, found, strict=True))
        results, first = [], 0
        for recording in inputs:
            parts = [decoded[first + position] for position in range(len(recording))]
            results.append(joined(parts, [len(piece) for piece in recording], options.n_best if options else 1))
            first += len(recording)
        return results
