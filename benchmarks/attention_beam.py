"""Attention beam search: beam 10, 4 utterances, 40 steps, a decoder of 6 layers (d = 256, V = 1000).

    python benchmarks/attention_beam.py [--rounds 5] [--json FILE] [--peers DIR]

Ours beside Hugging Face's ``generate``, ESPnet and SpeechBrain. All four decoders have our weights, which are checked;
EOS and the special tokens are made impossible, so that each search takes exactly 40 steps; the best hypotheses are
compared, but for their last token, which SpeechBrain takes for EOS and drops.
"""

from __future__ import annotations

import decoders
import torch
from common import OURS, Table, agreement, command_line, enter, finish
from models import Sizes

from asr_tutorial.model import build_model

UTTERANCES, FRAMES, STEPS, BEAM = 4, 250, 40, 10
SHARPNESS = 4.0
"""Factor on the output layer: with fresh weights all tokens are about as likely, and the best hypotheses nearly tie."""
IMPOSSIBLE = -1e4


def compare(sizes: Sizes, rounds: int) -> Table:
    """Measure all systems."""
    torch.manual_seed(0)
    model = build_model(sizes.config("--model.encoder_layers=1"), sizes.vocab).eval()
    assert model.decoder is not None
    with torch.no_grad():
        model.decoder.out.weight *= SHARPNESS
        model.decoder.out.bias.zero_()
        model.decoder.out.bias[:5] = IMPOSSIBLE
    encoder_out = torch.randn(UTTERANCES, FRAMES, sizes.d_model)
    mask = torch.ones(UTTERANCES, FRAMES, dtype=torch.bool)
    table = Table(
        f"attention beam {BEAM}, {UTTERANCES} utterances x {STEPS} steps, {sizes.decoder_layers} decoder layers, "
        f"d = {sizes.d_model}, V = {sizes.vocab}, one thread",
        columns=("same",),
    )
    table.add(OURS, lambda: decoders.ours(model, encoder_out, mask, BEAM, 0.0, STEPS))
    table.add("Hugging Face generate", lambda: decoders.hugging_face(model, encoder_out, mask, BEAM, STEPS))
    table.add("ESPnet", lambda: decoders.espnet(model, encoder_out, mask, BEAM, 0.0, STEPS))
    table.add("SpeechBrain", lambda: decoders.speechbrain(model, encoder_out, mask, BEAM, 0.0, STEPS))
    table.measure(rounds)
    texts = {name: [tokens[: STEPS - 1] for tokens in found] for name, found in table.outputs.items()}
    for name, found in texts.items():
        table.facts[name] = agreement(texts[OURS], found)
    return table


def main() -> None:
    options = command_line(__doc__, "attention_beam", rounds=5).parse_args()
    enter(options.peers)
    finish(options.json, [compare(Sizes(), options.rounds)], ["transformers", "espnet", "speechbrain"])


if __name__ == "__main__":
    main()
