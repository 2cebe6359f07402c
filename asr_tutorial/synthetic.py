"""A synthetic speech task, made in memory or written as a corpus of features: noisy feature frames for random letters.

Each letter sounds like a prototype, a random vector of mel bins. To speak a text is to hold the prototype of each of
its letters for a random number of frames, quieter towards the edges, and to add noise. A small model learns to read it
back in seconds, which is what experiments need: the length of the input varies, and nothing says where a letter ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.errors import ConfigError, UserError
from asr_tutorial.tokenizer import CharTokenizer

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class SyntheticTask:
    """Random texts over a few letters and their noisy features.

    The prototypes depend on ``seed`` alone, so that any number of training and test examples belong together; features
    have about zero mean and unit variance, so that no normalisation is needed.

    Attributes:
        tokenizer: of the letters in use.
        prototypes: ``(letters, n_mels)``, how each letter sounds.

    Args:
        letters: how many letters of the alphabet are used, 2 to 26.
        n_mels: mel bins of a frame.
        min_length: fewest letters of a text.
        max_length: most letters of a text.
        min_frames: fewest frames of a letter.
        max_frames: most frames of a letter.
        noise: standard deviation of the noise; 0.5 is easy, 2 is hard.
        seed: decides the prototypes.

    Raises:
        ConfigError: a value outside its range.
    """

    def __init__(
        self,
        letters: int = 10,
        n_mels: int = 80,
        min_length: int = 3,
        max_length: int = 10,
        min_frames: int = 3,
        max_frames: int = 8,
        noise: float = 0.5,
        seed: int = 1,
    ) -> None:
        if not 2 <= letters <= len(LETTERS):
            raise ConfigError(f"letters must be 2 to {len(LETTERS)}, not {letters}")
        for name, low, high in (("length", min_length, max_length), ("frames", min_frames, max_frames)):
            if not 1 <= low <= high:
                raise ConfigError(f"1 <= min_{name} <= max_{name} must hold, not min {low} and max {high}")
        if noise < 0:
            raise ConfigError(f"noise must not be negative, not {noise}")
        self.tokenizer = CharTokenizer(LETTERS[:letters])
        self.letters = LETTERS[:letters]
        self.lengths = (min_length, max_length)
        self.frames = (min_frames, max_frames)
        self.noise = noise
        self.prototypes = torch.randn(letters, n_mels, generator=torch.Generator().manual_seed(seed))

    def example(self, generator: torch.Generator) -> Example:
        """One random text and its features ``(frames, n_mels)``."""

        def draw(low: int, high: int, count: int) -> torch.Tensor:
            return torch.randint(low, high + 1, (count,), generator=generator)

        length = int(draw(*self.lengths, 1))
        spoken = draw(0, len(self.letters) - 1, length)
        durations = draw(*self.frames, length)
        # Loudness of each frame within its letter: half a sine wave, never silent.
        loudness = torch.cat([0.5 + torch.sin((torch.arange(n) + 0.5) / n * torch.pi) for n in durations.tolist()])
        clean = self.prototypes[spoken].repeat_interleave(durations, dim=0)  # (length, n_mels) -> (frames, n_mels)
        features = clean * loudness.unsqueeze(1) + self.noise * torch.randn(clean.shape, generator=generator)
        text = "".join(self.letters[i] for i in spoken.tolist())
        # Half a sine wave on 0.5 has a mean square of 0.25 + 2 / pi + 0.5.
        scale = (1.39 + self.noise**2) ** 0.5
        return Example(text, text, features / scale, self.tokenizer.encode(text))

    def batch(self, size: int = 32, seed: int = 1) -> Batch:
        """A batch that depends on ``seed`` alone: the same seed gives the same batch."""
        generator = torch.Generator().manual_seed(seed)
        return collate([self.example(generator) for _ in range(size)], self.tokenizer, frame_multiple=8)

    def write_corpus(self, folder: str | Path, count: int, seed: int = 1) -> Path:
        """Write examples as a corpus: ``fbank/ID.npy`` and ``text/ID.npy``, which ``read_corpus`` reads.

        Args:
            folder: new, or empty.
            count: number of examples.
            seed: decides them; corpora with different seeds are different.

        Raises:
            UserError: the folder holds something already, or cannot be written.
        """
        folder = Path(folder)
        generator = torch.Generator().manual_seed(seed)
        try:
            if folder.exists() and any(folder.iterdir()):
                raise UserError(f"{folder} is not empty: name a new folder, or remove this one")
            for part in ("fbank", "text"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                example = self.example(generator)
                name = f"synthetic-{seed}-{number:05}.npy"
                np.save(folder / "fbank" / name, example.features.numpy())
                np.save(folder / "text" / name, np.array(list(example.text)))
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
        return folder

    def batches(self, count: int, size: int = 32, seed: int = 1) -> Iterator[Batch]:
        """``count`` different batches; sets with different ``seed`` are different."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            yield collate([self.example(generator) for _ in range(size)], self.tokenizer, frame_multiple=8)
