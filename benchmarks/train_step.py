"""A training step, ours beside nn.Transformer, ESPnet and SpeechBrain: 12 + 6 layers, d = 256, V = 1000, 8 x 10 s.

    python benchmarks/train_step.py [--rounds 5] [--json FILE] [--peers DIR]

Forward pass, CTC and label-smoothed cross-entropy, backward pass, clipping, AdamW; fp32, dropout 0.1 everywhere, the
same batch. Ours is the library's own ``Stepper``, which also counts right tokens and checks that the gradient is
finite. The peers' models get the cheapest loop that one can write around them: PyTorch's own losses and the fused
AdamW. Takes some five minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import OURS, Table, command_line, enter, finish
from models import MODELS, Ours, Sizes, parameters
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.dataset import Batch
from asr_tutorial.tokenizer import Tokenizer
from asr_tutorial.training.step import Stepper

BATCH, FRAMES, TOKENS = 8, 1000, 40
CTC_WEIGHT, SMOOTHING = 0.3, 0.1
BLANK, SOS, EOS, PAD = Tokenizer.blank_id, Tokenizer.sos_id, Tokenizer.eos_id, Tokenizer.pad_id


def batch_of(sizes: Sizes) -> Batch:
    """Noise and random text, every utterance ``FRAMES`` long."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(5, sizes.vocab, (BATCH, TOKENS), generator=generator)
    ends = torch.full((BATCH, 1), EOS)
    return Batch(
        ids=[str(row) for row in range(BATCH)],
        texts=[""] * BATCH,
        features=torch.randn(BATCH, FRAMES, sizes.mels, generator=generator),
        feature_lengths=torch.full((BATCH,), FRAMES),
        tokens_in=torch.cat([torch.full((BATCH, 1), SOS), targets], dim=1),
        tokens_out=torch.cat([targets, ends], dim=1),
        targets=targets,
        target_lengths=torch.full((BATCH,), TOKENS),
    )


def our_step(sizes: Sizes, batch: Batch) -> tuple[nn.Module, Callable[[], float]]:
    """The library's training step."""
    config = sizes.config(f"--training.ctc_weight={CTC_WEIGHT}", f"--training.label_smoothing={SMOOTHING}")
    model = Ours(sizes).model
    stepper = Stepper(config, Tokenizer, model, total_steps=1_000_000)  # type: ignore[arg-type]
    return model, lambda: stepper.step([batch], 0).loss


def their_step(model: nn.Module, batch: Batch) -> Callable[[], float]:
    """A training step of a peer's model, with what PyTorch has for the rest."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def loss_of(result: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        log_probs, lengths, logits = result
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, blank=BLANK, reduction="sum"
        )
        attention = F.cross_entropy(
            logits.flatten(0, 1), batch.tokens_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )
        return CTC_WEIGHT * ctc / batch.targets.numel() + (1 - CTC_WEIGHT) * attention

    def step() -> float:
        loss = loss_of(model(batch.features, batch.feature_lengths, batch.tokens_in))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def compare(sizes: Sizes, rounds: int) -> Table:
    """Measure all systems."""
    batch = batch_of(sizes)
    table = Table(
        f"train step, {sizes.encoder_layers} + {sizes.decoder_layers} layers, d = {sizes.d_model}, V = {sizes.vocab}, "
        f"{BATCH} x {FRAMES / 100:g} s, fp32, one thread",
        columns=("parameters", "first loss"),
    )

    def make(name: str) -> Callable[[], Any]:
        torch.manual_seed(0)
        model, step = our_step(sizes, batch) if name == OURS else (MODELS[name](sizes), None)
        table.facts[name] = {"parameters": parameters(model)}
        return step or their_step(model, batch)

    for name in MODELS:
        table.add(name, lambda name=name: make(name))  # type: ignore[misc]
    table.measure(rounds)
    for name, loss in table.outputs.items():
        table.facts[name]["first loss"] = f"{loss:.2f}"
    return table


def main() -> None:
    options = command_line(__doc__, "train_step", rounds=5).parse_args()
    enter(options.peers)
    finish(options.json, [compare(Sizes(), options.rounds)], ["espnet", "speechbrain"])


if __name__ == "__main__":
    main()
