"""Joint CTC/attention beam search: beam 10, batches of 4 real utterances, on our trained models.

    python benchmarks/joint_beam.py [--corpus FOLDER] [--utterances 40] [--seconds 10] [--rounds 5] [--json FILE]

Encoder outputs are computed once, by our encoder. ESPnet's and SpeechBrain's searches get them, and our decoder and
CTC head inside their own modules. One batch is timed. Then all utterances are decoded by each system and the best
hypotheses compared: a difference is explained by scoring both texts exactly, with nothing left out, under the same
weighted sum, which tells which search found the better one.

ESPnet runs twice: as its recognition command has it, where the CTC head is asked about 15 tokens after each hypothesis,
and asked about all, which is the search that ours is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import decoders
import torch
from common import OURS, Table, agreement, command_line, enter, finish
from decoders import BLANK, EOS, SOS, Found
from speech import checkpoint, default_corpus, encode, features
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.model import SpeechTransformer

BATCH, BEAM, CTC_WEIGHT = 4, 10, 0.3
PEERS: dict[str, Callable[..., Callable[[], Found]]] = {
    "ESPnet": decoders.espnet,
    "ESPnet, CTC scores all tokens": partial(decoders.espnet, pre_beam=False),
    "SpeechBrain": decoders.speechbrain,
}


@torch.inference_mode()
def exact_score(model: SpeechTransformer, encoder_out: Tensor, mask: Tensor, tokens: list[int]) -> float:
    """``CTC_WEIGHT * log p_ctc + (1 - CTC_WEIGHT) * log p_attention`` of a whole text for one utterance, EOS included.

    Args:
        model: the recogniser.
        encoder_out: (frames, d_model).
        mask: (frames,), True = real.
        tokens: the text.
    """
    frames = encoder_out[mask][None]
    log_probs = model.ctc_log_probs(frames)
    lengths = (torch.tensor([frames.shape[1]]), torch.tensor([len(tokens)]))
    ctc = -F.ctc_loss(log_probs.transpose(0, 1), torch.tensor([tokens]), *lengths, blank=BLANK, reduction="sum")
    logits = model.decode(torch.tensor([[SOS, *tokens]]), frames, torch.ones(frames.shape[:2], dtype=torch.bool))
    attention = logits.log_softmax(dim=-1)[0].gather(1, torch.tensor([*tokens, EOS])[:, None]).sum()
    return float(CTC_WEIGHT * ctc + (1 - CTC_WEIGHT) * attention)


def differences(
    model: SpeechTransformer, batches: list[tuple[Tensor, Tensor]], ours: Found, theirs: Found
) -> list[dict[str, float | int]]:
    """For each utterance with two different best hypotheses their exact scores; the higher one is the better find."""
    found: list[dict[str, float | int]] = []
    utterances = [(out, mask) for outs, masks in batches for out, mask in zip(outs, masks, strict=True)]
    for number, ((out, mask), our_text, their_text) in enumerate(zip(utterances, ours, theirs, strict=True)):
        if our_text != their_text:
            found.append(
                {
                    "utterance": number,
                    "our_score": round(exact_score(model, out, mask, our_text), 3),
                    "their_score": round(exact_score(model, out, mask, their_text), 3),
                }
            )
    return found


def compare(name: str, corpus: str, utterances: int, seconds: float, rounds: int) -> Table:
    """Measure all systems and compare what they find."""
    recognizer = checkpoint(name)
    model = recognizer.model
    batches = encode(recognizer, features(recognizer, corpus, utterances, seconds), BATCH)
    out, mask = batches[len(batches) // 2]
    audio = float(mask.sum()) * recognizer.encoder_frame_seconds
    table = Table(
        f"joint CTC/attention beam {BEAM}, batch {len(out)} ({audio:.1f} s in all), CTC weight {CTC_WEIGHT}; {name}, "
        f"V = {model.ctc_head.out_features}, {Path(corpus).name}, one thread",
        columns=("same", "theirs better"),
    )
    table.add(OURS, lambda: decoders.ours(model, out, mask, BEAM, CTC_WEIGHT))
    for peer, make in PEERS.items():
        table.add(peer, lambda make=make: make(model, out, mask, BEAM, CTC_WEIGHT))  # type: ignore[misc]
    table.measure(rounds)
    ours = [tokens for pair in batches for tokens in decoders.ours(model, *pair, BEAM, CTC_WEIGHT)()]
    for peer in table.times:
        if peer == OURS:
            continue
        theirs = [tokens for pair in batches for tokens in PEERS[peer](model, *pair, BEAM, CTC_WEIGHT)()]
        different = differences(model, batches, ours, theirs)
        better = sum(row["their_score"] > row["our_score"] for row in different)
        table.facts[peer] = {**agreement(ours, theirs), "theirs better": better, "differences": different}
    return table


def main() -> None:
    parser = command_line(__doc__, "joint_beam", rounds=5)
    parser.add_argument("--corpus", default=default_corpus(), help="utterances for mini_librispeech (%(default)s)")
    parser.add_argument("--utterances", type=int, default=40, help="how many are compared (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="longer ones are left out (%(default)s)")
    options = parser.parse_args()
    enter(options.peers)
    tables = [
        compare(name, corpus, options.utterances, options.seconds, options.rounds)
        for name, corpus in (("mini_librispeech", options.corpus), ("tinyspeech", "tinyspeech/test"))
    ]
    finish(options.json, tables, ["espnet", "speechbrain"], corpus=options.corpus)


if __name__ == "__main__":
    main()
