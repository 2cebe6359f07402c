"""Patient 9: a language model that knows every word joins a recogniser, and the transcripts get worse.

The recogniser hears one frame for each letter and nothing but this frame; behind the end it hears a hum. The language
model has read the texts of the training set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, learn
from asr_tutorial.config import LanguageModelArchitecture
from asr_tutorial.dataset.batch import pad_tokens
from asr_tutorial.language_model import TransformerLM
from asr_tutorial.metrics import cer
from asr_tutorial.search import beam_search, shallow_fusion
from asr_tutorial.tokenizer import CharTokenizer

WORDS = ["RED", "GREEN", "BLUE", "BLACK", "WHITE", "BROWN", "GREY", "AMBER", "CORAL", "OLIVE", "INDIGO", "VIOLET"]
LM_WEIGHT, MOST_LETTERS, N_MELS = 2.0, 36, 16
LOUDNESS, NOISE = 4.0, 1.5
"""Of letters in the first mel bin, where the hum has the opposite; and the standard deviation of the noise in all."""


def lm_scores(lm: TransformerLM, prefixes: Tensor) -> Tensor:
    """What the language model says of the token that comes next, in the unit of the recogniser: nats.

    Args:
        lm: in evaluation mode.
        prefixes: ``(n, length)`` ids, SOS first.

    Returns:
        ``(n, vocab)``, to be added to the recogniser's log-probabilities.
    """
    return lm(prefixes)[:, -1].log_softmax(dim=-1)


class Room:
    """Speaks: each letter is one frame, a prototype and noise; behind the end comes a hum, quieter than the letters."""

    def __init__(self, tokenizer: CharTokenizer, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.prototypes = torch.randn(tokenizer.vocab_size, N_MELS, generator=torch.Generator().manual_seed(1))
        self.prototypes[tokenizer.eos_id] *= 0.5
        self.prototypes[:, 0] = LOUDNESS
        self.prototypes[tokenizer.eos_id, 0] = -LOUDNESS

    def text(self) -> str:
        """One to three words."""
        count = int(torch.randint(1, 4, (1,), generator=self.generator))
        chosen = torch.randint(len(WORDS), (count,), generator=self.generator)
        return " ".join(WORDS[number] for number in chosen.tolist())

    def speak(self, tokens: Tensor) -> Tensor:
        """Ids of any shape to frames ``(..., N_MELS)``."""
        clean = self.prototypes[tokens]
        return clean + NOISE * torch.randn(clean.shape, generator=self.generator)


@torch.inference_mode()
def recognise(listener: nn.Module, lm: TransformerLM, sound: Tensor, tokenizer: CharTokenizer, weight: float) -> str:
    """Beam search; the frame number ``length - 1`` tells what comes after a prefix of this length."""
    acoustic = listener(sound).log_softmax(dim=-1)  # (frames, vocab)
    # Whoever says the end claims that all that comes from here on is the hum.
    acoustic[:, tokenizer.eos_id] = acoustic[:, tokenizer.eos_id].flip(0).cumsum(0).flip(0)

    def step(prefixes: Tensor) -> Tensor:
        log_probs = acoustic[prefixes.shape[1] - 1].expand(len(prefixes), -1)
        scores = lm_scores(lm, prefixes) if weight else None
        return shallow_fusion(log_probs, scores, weight, token_bonus=0.0, eos=tokenizer.eos_id)

    never = [tokenizer.blank_id, tokenizer.sos_id, tokenizer.unk_id, tokenizer.pad_id]
    best = beam_search(step, [tokenizer.sos_id], 4, MOST_LETTERS, tokenizer.eos_id, forbidden=never)[0]
    return tokenizer.decode(best.tokens)


def run(seed: int = 0) -> Visit:
    """Train a recogniser and a language model, then recognise twelve texts without and with the language model."""
    tokenizer = CharTokenizer.train(WORDS)
    room = Room(tokenizer, seed)
    texts = [tokenizer.encode(room.text()) for _ in range(64)]
    heard = pad_tokens(texts, longest := max(map(len, texts)) + 1, tokenizer.eos_id)  # the hum, up to the end
    asked = pad_tokens([[*text, tokenizer.eos_id] for text in texts], longest, tokenizer.pad_id)
    read = pad_tokens([[tokenizer.sos_id, *text] for text in texts], longest, tokenizer.pad_id)
    torch.manual_seed(seed)
    listener = nn.Linear(N_MELS, tokenizer.vocab_size)
    lm = TransformerLM(LanguageModelArchitecture(32, 2, 64, layers=1, dropout=0.0), tokenizer.vocab_size)
    curves: dict[str, list[float]] = {"recogniser": [], "language model": []}

    def loss() -> Tensor:
        rows = torch.randperm(len(texts))[:16]
        pairs = {
            "recogniser": (listener(room.speak(heard[rows])), heard[rows]),
            "language model": (lm(read[rows]), asked[rows]),
        }
        parts = [F.cross_entropy(x.transpose(1, 2), y, ignore_index=tokenizer.pad_id) for x, y in pairs.values()]
        for name, part in zip(pairs, parts, strict=True):
            curves[name].append(part.item())
        return sum(parts, torch.zeros(()))

    learn(nn.ModuleList([listener, lm]), loss, steps=80, peak=2e-2)
    lm.eval()
    references = [room.text() for _ in range(12)]
    padded = pad_tokens([tokenizer.encode(text) for text in references], MOST_LETTERS + 1, tokenizer.eos_id)
    sounds = room.speak(padded)
    alone, together = (
        [recognise(listener, lm, sound, tokenizer, weight) for sound in sounds] for weight in (0.0, LM_WEIGHT)
    )
    return Visit(
        losses=curves,
        transcripts=list(zip(references, together, strict=True)),
        measures={
            "character errors without the language model": cer(references, alone),
            "character errors with it": cer(references, together),
            "letters written for each letter said": sum(map(len, together)) / sum(map(len, references)),
        },
    )
