"""The encoder's forward pass, ours beside nn.Transformer, ESPnet and SpeechBrain: 12 layers, d = 256, 8 x 10 s.

    python benchmarks/encoder.py [--rounds 7] [--json FILE] [--peers DIR]

As in recognition: no gradients, no dropout, padding masks as for utterances of different lengths. nn.Transformer gets
our weights, so its output is compared with ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from common import OURS, ROOT, Table, command_line, enter, finish, largest_difference
from models import MODELS, Ours, Sizes, Torch, parameters
from torch import Tensor, nn

sys.path.append(str(ROOT / "tests"))
from transplant import to_torch  # the same that the tests of our layers use

BATCH, FRAMES = 8, 1000
SHORTEST = 0.8
"""Length of the shortest utterance as a share of the longest."""


def inputs(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Features (batch, frames, mels), zero where padded, and lengths (batch,)."""
    features = torch.randn(BATCH, FRAMES, sizes.mels, generator=torch.Generator().manual_seed(0))
    lengths = torch.linspace(FRAMES, SHORTEST * FRAMES, BATCH).round().long()
    features *= (torch.arange(FRAMES) < lengths[:, None])[..., None]
    return features, lengths


def transplant(ours: Ours, theirs: Torch) -> None:
    """Our encoder's weights into PyTorch's."""
    state = {name: tensor for name, tensor in ours.model.encoder.state_dict().items() if name != "positional.table"}
    layers = {name: tensor for name, tensor in state.items() if name.startswith("layers.")}
    theirs.transformer.encoder.layers.load_state_dict(
        {name.removeprefix("layers."): tensor for name, tensor in to_torch(layers).items()}
    )
    theirs.transformer.encoder.norm.load_state_dict(ours.model.encoder.norm.state_dict())
    theirs.subsampling.load_state_dict(ours.model.encoder.subsampling.state_dict())


def compare(sizes: Sizes, rounds: int) -> Table:
    """Measure all systems."""
    features, lengths = inputs(sizes)
    table = Table(
        f"encoder forward, {sizes.encoder_layers} layers, d = {sizes.d_model}, {BATCH} x {FRAMES / 100:g} s, fp32",
        columns=("parameters", "difference"),
    )
    torch.manual_seed(0)
    ours = Ours(sizes).eval()
    # Ours normalises each utterance within the encode call; the others get what comes out of it.
    normalized = ours.model.normalize(features, lengths)

    def make(name: str) -> Callable[[], Tensor]:
        model: nn.Module = ours if name == OURS else MODELS[name](sizes).eval()
        if isinstance(model, Torch):
            transplant(ours, model)
        table.facts[name] = {"parameters": parameters(encoder_part(model))}
        given = features if name == OURS else normalized

        @torch.inference_mode()
        def work() -> Tensor:
            return model.encode(given, lengths)

        return work

    for name in MODELS:
        table.add(name, lambda name=name: make(name))  # type: ignore[misc]
    table.measure(rounds)
    comparable = [name for name in table.outputs if name.startswith("torch")]
    real = torch.arange(FRAMES // 4) < ((lengths + 3) // 4)[:, None]
    for name in comparable:
        difference = largest_difference(table.outputs[OURS][real], table.outputs[name][real])
        table.facts[name]["difference"] = difference
    return table


def encoder_part(model: nn.Module) -> nn.Module:
    """Without decoder and output layers, which take no part here."""
    parts = nn.ModuleList()
    if isinstance(model, Ours):
        parts.append(model.model.encoder)
    for name, module in model.named_modules():
        if name in ("subsampling", "front_end", "encoder", "transformer.encoder", "transformer.custom_src_module"):
            parts.append(module)
    return parts


def main() -> None:
    options = command_line(__doc__, "encoder", rounds=7).parse_args()
    enter(options.peers)
    finish(options.json, [compare(Sizes(dropout=0.0), options.rounds)], ["espnet", "speechbrain"])


if __name__ == "__main__":
    main()
