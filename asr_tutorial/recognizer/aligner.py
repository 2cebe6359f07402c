"""Looking into a recogniser: when each word was spoken, how probable each token was, where the decoder looks."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from asr_tutorial.audio import split_at_pauses
from asr_tutorial.ctc import forced_align
from asr_tutorial.errors import AudioError, TextError
from asr_tutorial.modes import evaluating
from asr_tutorial.paraformer import Paraformer, fire_times
from asr_tutorial.recognizer.decoding import FeatureBatch, check_search, decode_batch, word_positions
from asr_tutorial.recognizer.inputs import MAX_SECONDS, Audio
from asr_tutorial.recognizer.listener import Listener
from asr_tutorial.recognizer.results import AlignedText, Search, TimedText


class Aligner(Listener):
    """What a model heard, laid on the sound."""

    def align(
        self,
        audio: Audio,
        text: str | None = None,
        sample_rate: int | None = None,
        search: Search | None = None,
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
            search: how the text is recognised when it is not given; None: what suits the model.

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

    def token_fires(self, audio: Audio, sample_rate: int | None = None) -> tuple[Tensor, Tensor, list[TimedText]]:
        """Where a Paraformer's tokens fire, for :func:`asr_tutorial.plots.fires`.

        Args:
            audio: as for :meth:`transcribe`, of at most 30 s.
            sample_rate: of samples, in Hz.

        Returns:
            features (frames, n_mels), raw log-mel; the weight of each encoder frame (encoder_frames,), which is at
            ``encoder_start_seconds + index * encoder_frame_seconds``; and the tokens. A token begins where the one
            before it fires and ends where it fires itself; its score is its log-probability.

        Raises:
            AudioError: as :meth:`transcribe`, or the audio is too long.
            ConfigError: the model is no Paraformer.
        """
        check_search(self.model, "parallel")
        features = self._one_piece(audio, sample_rate)
        batch = self._collate([features])
        heard = decode_batch(self.model, self.tokenizer, batch, "parallel")[0].tokens
        with evaluating(self.model):
            encoder_out, encoder_mask = self.model.encode(batch.features, batch.feature_lengths)
            alphas = cast(Paraformer, self.model).predictor(encoder_out, encoder_mask)[0, encoder_mask[0]]
        step, first = self.encoder_frame_seconds, self.encoder_start_seconds
        ends = [max(first + time * step, 0.0) for time in fire_times(alphas).tolist()]
        tokens = [
            TimedText(token.text, start, end, math.log(max(token.confidence, 1e-30)))
            for token, start, end in zip(heard, [max(first, 0.0), *ends], ends, strict=False)
        ]
        return features, alphas, tokens

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
            ConfigError: the model has no decoder that reads tokens.
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

    def _align_features(self, features: Tensor, text: str | None, search: Search | None, offset: float) -> AlignedText:
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

    def _ctc_log_probs(self, batch: FeatureBatch) -> Tensor:
        """Log-probabilities (encoder_frames, vocab) of the only utterance of a batch."""
        with evaluating(self.model):
            encoder_out, encoder_mask = self.model.encode(batch.features, batch.feature_lengths)
            return self.model.ctc_log_probs(encoder_out)[0, encoder_mask[0]]

    def _words(self, ids: list[int], tokens: list[TimedText]) -> list[TimedText]:
        """Join the tokens of each word."""
        members = [[tokens[position] for position in group] for group in word_positions(self.tokenizer, ids)]
        texts = self.tokenizer.decode(ids).split()
        return [
            TimedText(text, group[0].start, group[-1].end, sum(token.score for token in group) / len(group))
            for text, group in zip(texts, members, strict=True)
        ]
