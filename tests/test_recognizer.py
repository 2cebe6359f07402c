"""The recogniser: any audio in, the same text out alone and in a batch, errors that name the file."""

import numpy as np
import pytest
import soundfile
import torch
from tiny import sound, sound_corpus, tiny_recognizer

import asr_tutorial
from asr_tutorial.audio import resample
from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import AudioError, CheckpointError, ConfigError, CorpusError, TextError
from asr_tutorial.recognizer import FeatureBatch, SearchOptions, decode_batch, default_options, evaluating, pick_device
from asr_tutorial.recognizer.inputs import batches

TEXTS = ["HELLO WORLD", "GOOD DAY", "IT IS LATE"]


@pytest.fixture(scope="module")
def recognizer():
    return tiny_recognizer()


@pytest.fixture
def corpus(tmp_path):
    return sound_corpus(tmp_path / "corpus", TEXTS)


def one_hot_ctc(recognizer, ids_by_frame):
    """Make the CTC head say the given token at each frame, whatever it hears."""
    model = recognizer.model
    scores = torch.full((len(ids_by_frame), recognizer.tokenizer.vocab_size), -10.0)
    scores[torch.arange(len(ids_by_frame)), torch.tensor(ids_by_frame)] = 0.0

    def ctc_log_probs(encoder_out):
        return scores[: encoder_out.shape[1]].log_softmax(-1).expand(len(encoder_out), -1, -1)

    model.ctc_log_probs = ctc_log_probs
    return recognizer


@pytest.mark.parametrize("search", ["greedy", "ctc", "prefix", "attention", "joint"])
def test_same_transcripts_alone_in_a_list_and_after_loading(recognizer, tmp_path, search):
    waves = [sound(seconds, seed) for seed, seconds in enumerate([0.6, 2.3, 1.1])]
    together = recognizer.transcribe(waves, search=search)
    recognizer.save(tmp_path / "model")
    loaded = asr_tutorial.load(tmp_path / "model", device="cpu")
    for wave, transcript in zip(waves, together, strict=True):
        alone = loaded.transcribe(wave, search=search)
        assert alone.text == transcript.text == str(transcript)
        assert alone.score == pytest.approx(transcript.score, abs=1e-4)
        assert transcript.seconds == pytest.approx(len(wave) / 16_000)
    assert len({transcript.score for transcript in together}) == 3


def test_files_and_arrays_of_any_rate_layout_and_type_say_the_same(recognizer, tmp_path):
    wave = sound(1.5)
    expected = recognizer.transcribe(wave, search="ctc")
    soundfile.write(tmp_path / "a.flac", np.stack([wave, wave], axis=1), 16_000, subtype="PCM_24")
    variants = [
        str(tmp_path / "a.flac"),
        tmp_path / "a.flac",
        np.stack([wave, wave]),
        np.stack([wave, wave], axis=1),
        wave.astype(np.float64),
        torch.from_numpy(wave),
        np.round(wave * 32768).astype(np.int16),
    ]
    for transcript in recognizer.transcribe(variants, search="ctc"):
        assert transcript.text == expected.text
        assert transcript.score == pytest.approx(expected.score, abs=2e-3)
        assert transcript.seconds == pytest.approx(1.5)
    at_48k = recognizer.transcribe(resample(wave, 16_000, 48_000), sample_rate=48_000, search="ctc")
    assert at_48k.score == pytest.approx(expected.score, abs=0.05)


def test_unsigned_bytes_are_centred_on_silence(recognizer):
    wave = sound(1.0)
    as_bytes = np.clip(np.round(wave * 128 + 128), 0, 255).astype(np.uint8)
    scores = [recognizer.transcribe(audio, search="ctc").score for audio in (wave, as_bytes)]
    assert scores[0] == pytest.approx(scores[1], abs=0.2)


def test_long_audio_is_split_and_joined(recognizer):
    wave = np.concatenate([sound(20, 1), np.zeros(8_000, np.float32), sound(20, 2)])
    transcript = recognizer.transcribe(wave, search="ctc")
    assert transcript.seconds == pytest.approx(40.5)
    pieces = recognizer._features(wave)
    assert len(pieces) == 2
    assert max(map(len, pieces)) <= 3000
    texts = [decode_batch(recognizer.model, recognizer.tokenizer, recognizer._collate([p]), "ctc") for p in pieces]
    assert transcript.text == " ".join(decoded[0].text for decoded in texts)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0, np.float32), "got .0,."),
        (np.zeros(100, np.float32), "0.006 s: at least 0.1 s"),
        (np.full(16_000, np.nan, np.float32), "NaN"),
        (np.zeros((2, 2, 2), np.float32), "samples, channels"),
        ("/no/such/file.wav", "/no/such/file.wav"),
    ],
)
def test_unusable_audio_is_named(recognizer, audio, message):
    with pytest.raises(AudioError, match=message):
        recognizer.transcribe(audio)


def test_modes_are_left_as_found(recognizer):
    recognizer.model.train()
    recognizer.model.encoder.eval()
    try:
        recognizer.transcribe(sound(0.5))
        assert recognizer.model.training
        assert not recognizer.model.encoder.training
        with evaluating(recognizer.model):
            assert not recognizer.model.training
            assert not torch.is_grad_enabled()
        assert recognizer.model.training
    finally:
        recognizer.model.eval()


def test_decode_batch_takes_a_batch_of_features(recognizer):
    lengths = torch.tensor([96, 50])
    features = torch.randn(2, 96, 80) * 4 + 10
    features[1, 50:] = 0
    both = decode_batch(recognizer.model, recognizer.tokenizer, FeatureBatch(features, lengths), "ctc")
    second = FeatureBatch(features[1:, :50], lengths[1:])
    alone = decode_batch(recognizer.model, recognizer.tokenizer, second, "ctc")
    assert both[1].text == alone[0].text
    assert both[1].score == pytest.approx(alone[0].score, abs=1e-4)


def test_greedy_never_says_special_tokens(recognizer):
    text = recognizer.transcribe(sound(1.0)).text
    assert "<" not in text


def test_searches_that_do_not_fit_are_refused(recognizer):
    ctc_only = tiny_recognizer(decoder_layers=0)
    assert isinstance(ctc_only.transcribe(sound(0.5), search="ctc").text, str)
    assert ctc_only.transcribe(sound(0.5)) == ctc_only.transcribe(sound(0.5), search="ctc"), "what suits the model"
    with pytest.raises(ConfigError, match="no decoder"):
        ctc_only.transcribe(sound(0.5), search="greedy")
    with pytest.raises(ConfigError, match="unknown search 'beam'"):
        recognizer.transcribe(sound(0.5), search="beam")


BEAM = SearchOptions(beam_size=4, n_best=3)


@pytest.mark.parametrize("search", ["prefix", "attention", "joint"])
def test_beam_searches_return_alternatives_and_confidences(recognizer, search):
    waves = [sound(0.6, 1), sound(1.3, 2)]
    for wave, transcript in zip(waves, recognizer.transcribe(waves, search=search, options=BEAM), strict=True):
        assert transcript.n_best[0].text == transcript.text
        assert 1 < len(transcript.n_best) <= 3
        assert len({alternative.text for alternative in transcript.n_best}) == len(transcript.n_best)
        assert [word.text for word in transcript.words] == transcript.text.split()
        assert all(0 <= heard.confidence <= 1 + 1e-6 for heard in transcript.tokens + transcript.words)
        alone = recognizer.transcribe(wave, search=search, options=BEAM)
        assert [a.text for a in alone.n_best] == [a.text for a in transcript.n_best]
        assert [t.confidence for t in alone.tokens] == pytest.approx(
            [t.confidence for t in transcript.tokens], abs=1e-4
        )


def test_a_words_confidence_is_the_product_of_its_tokens():
    recognizer = tiny_recognizer()
    blank = recognizer.tokenizer.blank_id
    h, i, space, a = recognizer.tokenizer.encode("HI A")
    one_hot_ctc(recognizer, [blank, h, h, blank, i, space, blank, blank, a, a, a, blank, *[blank] * 100])
    for search in ("ctc", "prefix"):
        transcript = recognizer.transcribe(sound(2.0), search=search)
        assert transcript.text == "HI A"
        assert [token.text for token in transcript.tokens] == ["H", "I", "▁", "A"]
        assert [word.text for word in transcript.words] == ["HI", "A"]
        first, second, *_ = (token.confidence for token in transcript.tokens)
        assert transcript.words[0].confidence == pytest.approx(first * second)
        assert first > 0.99


def test_alternatives_of_pieces_are_combined(recognizer):
    wave = np.concatenate([sound(20, 1), np.zeros(8_000, np.float32), sound(20, 2)])
    transcript = recognizer.transcribe(wave, search="prefix", options=BEAM)
    assert transcript.n_best[0].text == transcript.text
    assert [word.text for word in transcript.words] == transcript.text.split()
    scores = [alternative.score for alternative in transcript.n_best]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_options_suit_the_search(recognizer):
    assert default_options("attention").length_penalty == 1.0
    assert default_options("joint").length_penalty == 0.0
    assert default_options("attention", length_penalty=0.5).length_penalty == 0.5
    with pytest.raises(ConfigError, match="'greedy' has no options"):
        recognizer.transcribe(sound(0.5), options=BEAM)


def test_alignment_finds_the_frames():
    recognizer = tiny_recognizer()
    blank = recognizer.tokenizer.blank_id
    h, i, space, a = recognizer.tokenizer.encode("HI A")
    one_hot_ctc(recognizer, [blank, h, h, blank, i, space, blank, blank, a, a, a, blank, *[blank] * 100])
    aligned = recognizer.align(sound(2.0), "HI A")
    words = [(word.text, round(word.start, 4), round(word.end, 4)) for word in aligned.words]
    # Frame 1 looks at the feature frames around number 4, whose window has its middle at 52.5 ms.
    assert words == [("HI", 0.0325, 0.1925), ("A", 0.3125, 0.4325)]
    assert [t.text for t in aligned.tokens] == ["H", "I", "▁", "A"]
    assert aligned.tokens[0].score == pytest.approx(0, abs=0.01)
    recognised = recognizer.align(sound(2.0), search="ctc")
    assert recognised.text == "HI A"
    assert recognised.words == aligned.words


@pytest.mark.parametrize("kind", ["conv", "vgg", "pool"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_frame_lies_around_the_sound_that_it_looks_at(kind, factor):
    recognizer = tiny_recognizer(subsampling=kind, subsampling_factor=factor)
    features = torch.randn(1, 160, 80, requires_grad=True)
    frame = 6
    out, _ = recognizer.model.encoder.subsampling(features, torch.tensor([160]))
    out[0, frame].square().sum().backward()
    seen = features.grad[0].abs().sum(dim=1).nonzero()[:, 0]
    middle = 0.0125 + 0.01 * float(seen[0] + seen[-1]) / 2  # a window is 25 ms long
    expected = recognizer.encoder_start_seconds + (frame + 0.5) * recognizer.encoder_frame_seconds
    assert middle == pytest.approx(expected, abs=0.005), (
        f"{kind} by {factor}: frame {frame} sees {int(seen[0])} to {int(seen[-1])}, their middle at {middle:.4f} s"
    )


def test_alignment_of_long_audio_counts_from_its_start():
    recognizer = tiny_recognizer()
    blank, a = recognizer.tokenizer.blank_id, recognizer.tokenizer.encode("A")[0]
    one_hot_ctc(recognizer, [blank, a, *[blank] * 1000])
    wave = np.concatenate([sound(20, 1), np.zeros(8_000, np.float32), sound(20, 2)])
    aligned = recognizer.align(wave, search="ctc")
    assert aligned.text == "A A"
    assert aligned.words[0].start == pytest.approx(0.0325)
    assert 19 < aligned.words[1].start < 22
    with pytest.raises(AudioError, match=r"40\.5 s .* at most 30 s"):
        recognizer.align(wave, "A A")


def test_alignment_names_what_does_not_fit(recognizer):
    with pytest.raises(TextError, match="does not know '7'"):
        recognizer.align(sound(1.0), "ROOM 7")
    with pytest.raises(TextError, match=r"does not fit the audio.*frames"):
        recognizer.align(sound(0.5), "A" * 100)


def test_evaluation_counts_and_keeps_the_order(recognizer, corpus, monkeypatch):
    seen = []
    evaluation = recognizer.evaluate(corpus, search="ctc", on_progress=seen.append)
    assert [result.id for result in evaluation.results] == ["1-2-0000", "1-2-0001", "1-2-0002"]
    assert [result.reference for result in evaluation.results] == TEXTS
    assert evaluation.audio_seconds == pytest.approx(1 + 1.25 + 1.5)
    assert evaluation.words.reference == 7
    assert evaluation.rtf > 0
    assert sum(seen) == 3
    assert {"wer", "cer", "utterances", "audio_seconds", "rtf"} <= evaluation.to_dict().keys()
    in_small_batches = recognizer.evaluate(read_corpus(corpus), search="ctc", batch_seconds=1)
    assert [r.hypothesis for r in in_small_batches.results] == [r.hypothesis for r in evaluation.results]
    assert recognizer.evaluate(corpus, limit=2).utterances == 2


def test_references_are_compared_in_the_alphabet_of_the_model(tmp_path):
    recognizer = tiny_recognizer()
    h, i = recognizer.tokenizer.encode("HI")
    one_hot_ctc(recognizer, [h, i, *[recognizer.tokenizer.blank_id] * 40])
    evaluation = recognizer.evaluate(sound_corpus(tmp_path / "c", ["hi", "  Hi "]), search="ctc")
    assert evaluation.wer == 0
    assert evaluation.cer == 0


def test_evaluation_skips_and_names_what_cannot_be_used(recognizer, corpus):
    flac = corpus / "1" / "2" / "1-2-0001.flac"
    flac.write_bytes(flac.read_bytes()[:2000])  # the header is whole, the sound is not
    evaluation = recognizer.evaluate(corpus)
    assert evaluation.utterances == 2
    assert [skip.id for skip in evaluation.skipped] == ["1-2-0001"]
    assert "1-2-0001.flac" in evaluation.skipped[0].reason
    assert evaluation.to_dict()["skipped"][0]["id"] == "1-2-0001"


def test_precomputed_features_are_used_as_they_are(recognizer, corpus, tmp_path):
    for kind in ("fbank", "text"):
        (tmp_path / "npy" / kind).mkdir(parents=True)
    for utterance in read_corpus(corpus):
        features = recognizer._read(utterance)[0].numpy()
        np.save(tmp_path / "npy" / "fbank" / f"{utterance.id}.npy", features)
        np.save(tmp_path / "npy" / "text" / f"{utterance.id}.npy", np.array(list(utterance.text)))
    from_audio = recognizer.evaluate(corpus, search="ctc")
    from_features = recognizer.evaluate(tmp_path / "npy", search="ctc")
    assert [r.hypothesis for r in from_features.results] == [r.hypothesis for r in from_audio.results]
    assert from_features.wer == from_audio.wer

    path = tmp_path / "npy" / "fbank" / "1-2-0000.npy"
    features = np.load(path)
    features[0, 0] = np.nan
    np.save(path, features)
    np.save(tmp_path / "npy" / "fbank" / "1-2-0001.npy", features[:, :40])
    evaluation = recognizer.evaluate(tmp_path / "npy", search="ctc")
    reasons = {skip.id: skip.reason for skip in evaluation.skipped}
    assert "NaN" in reasons["1-2-0000"]
    assert "40 mel bins, the model takes 80" in reasons["1-2-0001"]


def test_a_corpus_without_transcripts_cannot_be_evaluated(recognizer, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1.0), 16_000)
    (tmp_path / "m.tsv").write_text("id\taudio\na\ta.wav\n")
    with pytest.raises(CorpusError, match="a: it has no transcript"):
        recognizer.evaluate(tmp_path / "m.tsv")


def test_batches_are_longest_first_within_the_budget():
    seconds = [1.0, 9.0, 2.0, 3.0, 50.0]
    found = list(batches(seconds, 10.0))
    assert sorted(index for group in found for index in group) == [0, 1, 2, 3, 4]
    assert found[0] == [4]
    assert found[1] == [1]
    assert all(len(group) == 1 or max(seconds[i] for i in group) * len(group) <= 10 for group in found)


def test_devices_are_checked():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="cannot use device 'toaster'"):
        pick_device("toaster")


def test_the_package_offers_load_without_importing_torch_first():
    assert asr_tutorial.load.__module__ == "asr_tutorial.recognizer.recognizer"
    assert {"load", "Recognizer"} <= set(dir(asr_tutorial))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = asr_tutorial.lode
    with pytest.raises(CheckpointError, match="no such folder"):
        asr_tutorial.load("/nowhere")
