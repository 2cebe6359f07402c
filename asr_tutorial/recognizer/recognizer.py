"""The recogniser itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from asr_tutorial import metrics
from asr_tutorial.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from asr_tutorial.config import PLAIN_SEARCHES, Config
from asr_tutorial.corpus import Corpus, Skip, Utterance, read_corpus
from asr_tutorial.errors import ConfigError, CorpusError, UserError
from asr_tutorial.language_model import LanguageModel, load_language_model
from asr_tutorial.recognizer.aligner import Aligner
from asr_tutorial.recognizer.decoding import check_search, decode_batch, default_options, default_search, joined
from asr_tutorial.recognizer.fusing import read_recommended, token_model, write_recommended
from asr_tutorial.recognizer.inputs import Audio, batches, duration
from asr_tutorial.recognizer.results import Decoded, Evaluation, Search, Transcript
from asr_tutorial.search import SearchOptions, TokenModel
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


def load(folder: str | Path, device: str = "auto", language_model: str | Path | None = None) -> Recognizer:
    """A recogniser from a checkpoint folder or a run folder.

    Args:
        folder: of the recogniser.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        language_model: folder of one that beam searches ask too, see :meth:`Recognizer.use_language_model`.

    Raises:
        CheckpointError: the folder holds no checkpoint, or one that is incomplete or corrupt.
        ConfigError: the language model does not fit.
    """
    folder = find_checkpoint(folder)
    recognizer = Recognizer(*load_checkpoint(folder, pick_device(device)), read_recommended(folder))
    recognizer.use_language_model(language_model)
    return recognizer


class Recognizer(Aligner):
    """A model with its tokenizer and feature extractor.

    Args:
        model: from :func:`asr_tutorial.model.build_model`.
        tokenizer: the one that the model was trained with.
        config: the configuration that the model was built from.
        recommended: settings by search that suit the model, see
            :func:`~asr_tutorial.recognizer.fusing.write_recommended`.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        config: Config,
        recommended: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(model, tokenizer, config)
        self.recommended = recommended or {}
        self.language_model: TokenModel | None = None

    def use_language_model(self, language_model: LanguageModel | str | Path | None) -> None:
        """Let beam searches ask a language model too (shallow fusion, with ``lm_weight``); None: none any more.

        Args:
            language_model: one, or its folder: a Transformer of the recogniser's tokens, or an n-gram model of words.

        Raises:
            CheckpointError: no language model there.
            ConfigError: the vocabularies differ.
        """
        if language_model is None:
            self.language_model = None
            return
        name = "the language model"
        if isinstance(language_model, str | Path):
            name = f"the language model {language_model}"
            language_model = load_language_model(language_model)
        if isinstance(language_model.model, nn.Module):
            language_model.model.to(self.device).eval()
        self.language_model = token_model(language_model, self.tokenizer, name)

    def search_options(self, search: Search | None = None, **given: Any) -> SearchOptions | None:
        """The options that are given, and for the rest what the checkpoint recommends, or what suits the search.

        Returns:
            None for a search that has no options.
        """
        search = search or default_search(self.model)
        if search in PLAIN_SEARCHES:
            return None
        with_lm = self.recommended.get(f"{search}+lm", {}) if self.language_model is not None else {}
        return default_options(search, **{**self.recommended.get(search, {}), **with_lm, **given})

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Write a checkpoint that :func:`load` reads.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written.
        """
        save_checkpoint(folder, self.model, self.tokenizer, self.config, half=half)
        if self.recommended:
            write_recommended(folder, self.recommended)

    @overload
    def transcribe(
        self,
        audio: Audio,
        sample_rate: int | None = ...,
        search: Search | None = ...,
        options: SearchOptions | None = ...,
    ) -> Transcript: ...

    @overload
    def transcribe(
        self,
        audio: list[Any] | tuple[Any, ...],
        sample_rate: int | None = ...,
        search: Search | None = ...,
        options: SearchOptions | None = ...,
    ) -> list[Transcript]: ...

    def transcribe(
        self,
        audio: Audio | list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        search: Search | None = None,
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
            search: ``"greedy"``, ``"ctc"``, ``"prefix"``, ``"attention"``, ``"joint"`` or ``"parallel"``, see
                :func:`decode_batch`; None: what suits the model.
            options: of ``prefix``, ``attention`` and ``joint``, which are beam searches: beam size, alternatives,
                penalties, the weight of a language model; None: :meth:`search_options`.

        Returns:
            A :class:`Transcript`; for a list one each, in its order.

        Raises:
            AudioError: a file is missing or corrupt, or audio is empty, too short or not finite.
            ConfigError: as :func:`decode_batch`.
        """
        search = search or default_search(self.model)
        check_search(self.model, search, options)
        options = options or self.search_options(search)
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

    def evaluate(
        self,
        corpus: Corpus | str | Path,
        search: Search | None = None,
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
            options: as for :meth:`transcribe`; None: :meth:`search_options`.

        Returns:
            The figures; utterances that cannot be used (unreadable audio, no transcript) are in ``skipped``.

        Raises:
            CorpusError: no utterance can be used.
        """
        corpus = corpus if isinstance(corpus, Corpus) else read_corpus(corpus)
        skipped = [
            *corpus.skipped,
            *(Skip(u.id, "it has no transcript") for u in corpus.utterances[:limit] if u.text is None),
        ]
        utterances = [utterance for utterance in corpus.utterances[:limit] if utterance.text is not None]
        search = search or default_search(self.model)
        options = options or self.search_options(search)
        started = time.perf_counter()
        found, unusable = self.decode_corpus(utterances, search, batch_seconds, on_progress, options)
        skipped += unusable
        processing_seconds = time.perf_counter() - started
        # The reference in the tokenizer's letter case: a transcript in lower case is not a wrong one.
        ordered = [
            metrics.UtteranceResult(
                utterance.id, self.tokenizer.normalize(utterance.text or ""), decoded.text, utterance.seconds
            )
            for utterance, decoded in zip(utterances, found, strict=True)
            if decoded is not None
        ]
        if not ordered:
            reasons = "; ".join(f"{skip.id}: {skip.reason}" for skip in skipped[:3])
            raise CorpusError(f"no utterance of the corpus can be evaluated ({reasons or 'it is empty'})")
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
            decoded=[decoded for decoded in found if decoded is not None],
            options=options,
        )

    def decode_corpus(
        self,
        utterances: Sequence[Utterance],
        search: Search | None = None,
        batch_seconds: float | None = None,
        on_progress: Callable[[int], object] | None = None,
        options: SearchOptions | None = None,
    ) -> tuple[list[Decoded | None], list[Skip]]:
        """Recognise utterances, with or without transcripts.

        Args:
            utterances: of a corpus.
            search: as for :meth:`transcribe`.
            batch_seconds: audio in a batch; None: as in training.
            on_progress: called with the number of utterances after each batch.
            options: as for :meth:`transcribe`; None: :meth:`search_options`.

        Returns:
            What was recognised of each utterance, None where it cannot be read; and which these are, with the reasons.
        """
        search = search or default_search(self.model)
        check_search(self.model, search, options)
        options = options or self.search_options(search)
        found: list[Decoded | None] = [None] * len(utterances)
        skipped = []
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
                found[index] = decoded
            if on_progress is not None:
                on_progress(len(group))
        return found, skipped

    def _decode(
        self, inputs: Sequence[Sequence[Tensor]], search: Search, options: SearchOptions | None
    ) -> list[Decoded]:
        """Recognise recordings given as pieces; the texts of a recording's pieces are joined."""
        pieces = [piece for pieces in inputs for piece in pieces]
        decoded: dict[int, Decoded] = {}
        for group in batches([len(piece) * self.frame_seconds for piece in pieces], self.config.data.batch_seconds):
            batch = self._collate([pieces[index] for index in group])
            found = decode_batch(self.model, self.tokenizer, batch, search, options, self.language_model)
            decoded.update(zip(group, found, strict=True))
        results, first = [], 0
        for recording in inputs:
            parts = [decoded[first + position] for position in range(len(recording))]
            results.append(joined(parts, [len(piece) for piece in recording], options.n_best if options else 1))
            first += len(recording)
        return results
