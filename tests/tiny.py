"""A recogniser small enough to be built in milliseconds, with random weights, and sounds for it to hear."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from asr_tutorial.config import Config, from_dict
from asr_tutorial.model import build_model
from asr_tutorial.recognizer import Recognizer
from asr_tutorial.tokenizer import CharTokenizer

MODEL = {"d_model": 16, "num_heads": 2, "d_ff": 32, "encoder_layers": 1, "decoder_layers": 1, "subsampling_channels": 4}
OVERRIDES = [f"--model.{key}={value}" for key, value in MODEL.items()]


def tiny_config(**model: object) -> Config:
    training = {"ctc_weight": 1.0, "validation_search": "ctc"} if model.get("decoder_layers") == 0 else {}
    if model.get("architecture") == "paraformer":
        training = {"validation_search": "parallel"}
    return from_dict(Config, {"name": "tiny", "model": {**MODEL, **model}, "training": training})


def tiny_recognizer(**model: object) -> Recognizer:
    torch.manual_seed(0)
    config = tiny_config(**model)
    tokenizer = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    network = build_model(config, tokenizer.vocab_size).eval()
    # The features of sound, some 10 +- 4, brought to about zero, so that different sounds give different outputs.
    network.normalize.mean.fill_(10.0)
    network.normalize.inverse_std.fill_(0.25)
    return Recognizer(network, tokenizer, config)


def sound(seconds: float, seed: int = 0, sample_rate: int = 16_000) -> np.ndarray:
    """Tones that change four times a second, and some noise: (samples,) float32."""
    rng = np.random.default_rng(seed)
    frequency = np.repeat(rng.uniform(200, 3000, int(seconds * 4) + 1), sample_rate // 4)[: int(seconds * sample_rate)]
    wave = 0.2 * np.sin(2 * np.pi * np.cumsum(frequency) / sample_rate) + 0.01 * rng.normal(size=len(frequency))
    return wave.astype(np.float32)


def sound_corpus(folder: Path, texts: list[str], seconds: float = 1.0) -> Path:
    """Sounds and transcripts in LibriSpeech's layout."""
    chapter = folder / "1" / "2"
    chapter.mkdir(parents=True)
    for number, _ in enumerate(texts):
        soundfile.write(chapter / f"1-2-{number:04}.flac", sound(seconds + number / 4, number), 16_000)
    lines = [f"1-2-{number:04} {text}\n" for number, text in enumerate(texts)]
    (chapter / "1-2.trans.txt").write_text("".join(lines), encoding="utf-8")
    return folder
