"""CTC prefix beam search without a language model: beam 10, one utterance of 10 s, V = 32 and V = 300.

    python benchmarks/prefix_beam.py [--corpus FOLDER] [--utterances 60] [--rounds 9] [--json FILE] [--peers DIR]

Ours beside pyctcdecode and SpeechBrain (Python), fast-ctc-decode (Rust) and flashlight-text (C++). V = 32 or so:
posteriors of our trained CTC heads on real utterances, timed on 10 s of them, and best hypotheses compared on all. V =
300: posteriors made like those of a trained head (mostly blank, sure of most tokens). Each system has its own defaults
for what it leaves out. Where hypotheses differ, the exact CTC loss tells which text is more probable. A second
comparison with a beam of 50 tells how much of the difference is the narrow beam, and "nats lost" by how much, on
average, the text of the narrow one is less probable than the best text that any system found with the wide one. A head
that is unsure has very many texts of nearly the same probability: there no two searches that leave out something
different find the same one.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import OURS, Table, agreement, command_line, enter, finish
from speech import checkpoint, default_corpus, encode, features
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.ctc import prefix_beam_search

BEAM, WIDE, FRAMES, BLANK = 10, 50, 250, 0
WIDE_PIECES = 8
"""Utterances that the wide beam is tried on; some peers take seconds for each."""
Decoder = Callable[[Tensor], list[int]]
"""Log-probabilities (time, vocab) of one utterance to the ids of the best transcript."""


def alphabet(vocab: int) -> list[str]:
    """One letter for each id, since some peers return text; blank is the empty string."""
    return ["", *(chr(0x4E00 + number) for number in range(1, vocab))]


def ids_of(text: str) -> list[int]:
    return [ord(letter) - 0x4E00 for letter in text if letter != " "]


def ours(vocab: int, beam: int) -> Decoder:
    def decode(log_probs: Tensor) -> list[int]:
        return prefix_beam_search(log_probs[None], torch.tensor([len(log_probs)]), BLANK, beam)[0][0].tokens

    return decode


def pyctcdecode(vocab: int, beam: int) -> Decoder:
    """With its defaults for pruning; it has no use for a space in this alphabet."""
    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(alphabet(vocab))
    return lambda log_probs: ids_of(decoder.decode(log_probs.numpy(), beam_width=beam))


def speechbrain(vocab: int, beam: int) -> Decoder:
    """``CTCPrefixBeamSearcher`` with its defaults for pruning."""
    from speechbrain.decoders.ctc import CTCPrefixBeamSearcher

    logging.getLogger("speechbrain").setLevel(logging.ERROR)
    logging.disable(logging.WARNING)  # it warns that this alphabet has no space
    letters = ["<blank>", *alphabet(vocab)[1:]]
    searcher = CTCPrefixBeamSearcher(blank_index=BLANK, vocab_list=letters, beam_size=beam)
    return lambda log_probs: ids_of(searcher(log_probs[None])[0][0].text)


def fast_ctc_decode(vocab: int, beam: int) -> Decoder:
    """Beam search in Rust; without its threshold, so that nothing is left out, as its documentation has it."""
    from fast_ctc_decode import beam_search

    letters = ["N", *alphabet(vocab)[1:]]

    def decode(log_probs: Tensor) -> list[int]:
        text, _ = beam_search(log_probs.exp().numpy(), letters, beam_size=beam, beam_cut_threshold=0.0)
        return ids_of(text)

    return decode


def flashlight(vocab: int, beam: int) -> Decoder:
    """The lexicon-free decoder in C++, adding up the paths of a transcript, all tokens tried, nothing left out."""
    from flashlight.lib.text.decoder import (
        CriterionType,
        LexiconFreeDecoder,
        LexiconFreeDecoderOptions,
        ZeroLM,
    )

    options = LexiconFreeDecoderOptions(
        beam_size=beam,
        beam_size_token=vocab,
        beam_threshold=50.0,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    decoder = LexiconFreeDecoder(options, ZeroLM(), -1, BLANK, [])

    def decode(log_probs: Tensor) -> list[int]:
        emissions = log_probs.contiguous()
        path = decoder.decode(emissions.data_ptr(), *emissions.shape)[0].tokens
        tokens = [path[0], *(now for before, now in itertools.pairwise(path) if now != before)]
        return [token for token in tokens if token not in (BLANK, -1)]

    return decode


SYSTEMS: dict[str, Callable[[int, int], Decoder]] = {
    OURS: ours,
    "pyctcdecode": pyctcdecode,
    "SpeechBrain": speechbrain,
    "fast-ctc-decode (Rust)": fast_ctc_decode,
    "flashlight-text (C++)": flashlight,
}


def made_up(vocab: int, utterances: int) -> list[Tensor]:
    """Log-probabilities (FRAMES, vocab) with the look of a trained head's: a sure token now and then, else blank."""
    rng = np.random.default_rng(0)
    results = []
    for _ in range(utterances):
        logits = rng.standard_normal((FRAMES, vocab)) * 1.5
        logits[:, BLANK] += 9
        spoken = rng.choice(FRAMES, FRAMES // 5, replace=False)
        rivals = rng.integers(1, vocab, (len(spoken), 2))
        logits[spoken, rivals[:, 0]] += 9 + rng.exponential(3, len(spoken))
        logits[spoken, rivals[:, 1]] += rng.uniform(4, 10, len(spoken))
        results.append(torch.from_numpy(logits).float().log_softmax(dim=-1))
    return results


@torch.inference_mode()
def heard(name: str, corpus: str, utterances: int) -> list[Tensor]:
    """Log-probabilities (time, vocab) of a trained CTC head on real utterances."""
    recognizer = checkpoint(name)
    results = []
    for out, mask in encode(recognizer, features(recognizer, corpus, utterances), batch=8):
        log_probs = recognizer.model.ctc_log_probs(out)
        results += [row[real].clone() for row, real in zip(log_probs, mask, strict=True)]
    return results


def ten_seconds(pieces: list[Tensor]) -> Tensor:
    """(FRAMES, vocab): utterances of middling length one after the other, cut to 10 s."""
    middle = pieces[len(pieces) // 3 :]
    return torch.cat(middle)[:FRAMES].contiguous()


def log_likelihood(log_probs: Tensor, tokens: list[int]) -> float:
    """Of a transcript, over all its paths; in nats."""
    lengths = torch.tensor([len(log_probs)]), torch.tensor([len(tokens)])
    loss = F.ctc_loss(log_probs[:, None].double(), torch.tensor([tokens]), *lengths, blank=BLANK, reduction="sum")
    return -float(loss)


def compare(title: str, pieces: list[Tensor], rounds: int) -> Table:
    """Measure all systems on 10 s, and compare their best hypotheses of all pieces."""
    vocab = pieces[0].shape[1]
    timed = ten_seconds(pieces)
    table = Table(f"{title}, one thread", columns=("same", "theirs better", "same at beam 50", "nats lost"))
    decoders: dict[str, Decoder] = {}

    def make(name: str) -> Callable[[], Any]:
        decoders[name] = SYSTEMS[name](vocab, BEAM)
        return lambda: decoders[name](timed)

    for name in SYSTEMS:
        table.add(name, lambda name=name: make(name))  # type: ignore[misc]
    table.measure(rounds)
    some = pieces[:: max(1, len(pieces) // WIDE_PIECES)]
    texts: dict[str, list[list[int]]] = {}
    wide = {name: [SYSTEMS[name](vocab, WIDE)(piece) for piece in some] for name in table.times}
    # The most probable text that any of the systems found with the wide beam stands for the truth, which nobody knows.
    best = [max(log_likelihood(piece, wide[name][at]) for name in wide) for at, piece in enumerate(some)]
    for name in table.times:
        texts[name] = [decoders[name](piece) for piece in pieces]
        narrow = [log_likelihood(piece, decoders[name](piece)) for piece in some]
        lost = sum(most - found for most, found in zip(best, narrow, strict=True)) / len(some)
        table.facts[name] = {"nats lost": round(lost, 2)}
    for name, found in texts.items():
        if name == OURS:
            continue
        differences = []
        for number, (piece, our_text, their_text) in enumerate(zip(pieces, texts[OURS], found, strict=True)):
            if our_text != their_text:
                scores = [round(log_likelihood(piece, text), 4) for text in (our_text, their_text)]
                differences.append({"utterance": number, "our_score": scores[0], "their_score": scores[1]})
        better = sum(row["their_score"] > row["our_score"] for row in differences)
        table.facts[name] |= {
            **agreement(texts[OURS], found),
            "theirs better": better,
            f"same at beam {WIDE}": agreement(wide[OURS], wide[name])["same"],
            "differences": differences,
        }
    return table


def main() -> None:
    parser = command_line(__doc__, "prefix_beam", rounds=9)
    parser.add_argument("--corpus", default=default_corpus(), help="where the utterances come from (%(default)s)")
    parser.add_argument("--utterances", type=int, default=60, help="how many are compared (%(default)s)")
    options = parser.parse_args()
    enter(options.peers)
    count, tables = options.utterances, []
    for name, corpus in (("mini_librispeech", options.corpus), ("tinyspeech", "tinyspeech/test")):
        heads = heard(name, corpus, count)
        title = f"V = {heads[0].shape[1]}, CTC head of {name} on {len(heads)} utterances of {Path(corpus).name}"
        tables.append(compare(f"CTC prefix beam {BEAM}, 10 s, {title}", heads, options.rounds))
    title = f"CTC prefix beam {BEAM}, 10 s, V = 300, made-up posteriors"
    tables.append(compare(title, made_up(300, count), options.rounds))
    packages = ["pyctcdecode", "speechbrain", "fast-ctc-decode", "flashlight-text"]
    finish(options.json, tables, packages, corpus=options.corpus)


if __name__ == "__main__":
    main()
