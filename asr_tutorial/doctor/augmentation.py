"""SpecAugment and normalisation: what happens to features on the way into the encoder in training."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from asr_tutorial.doctor.case import Case
from asr_tutorial.doctor.report import Finding, NotApplicable
from asr_tutorial.features import SpecAugment

COPIES = 300
"""Of one utterance, to see how wide masks are on average."""
REAL = 200
"""Its frames."""
PADDED = 600
"""Frames of the batch that it lies in."""
FARTHEST = 1.3
"""Ratio of hidden shares that chance may account for: 300 draws have a spread of some 5 %."""


def spec_augment(case: Case) -> Iterator[Finding]:
    """Masks on an utterance alone and with twice its length of padding behind it."""
    module, settings = copy.deepcopy(case.model.spec_augment), case.config.augment
    if not (settings.freq_masks * settings.freq_width or settings.time_masks * int(settings.time_width * REAL)):
        raise NotApplicable("SpecAugment is not configured")
    module.train()
    module.limit, module.strength = 1.0, 1.0
    torch.manual_seed(0)
    n_mels = case.config.features.n_mels
    alone, _ = _masked(module, REAL, n_mels)
    padded, written = _masked(module, PADDED, n_mels)
    if written:
        yield Finding("specaugment_in_padding", f"{100 * written:.0f} % of the padding is overwritten")
    if settings.time_masks and int(settings.time_width * REAL):
        shares = [float(hidden.all(dim=2).float().mean()) for hidden in (alone, padded)]  # whole frames
        ratio = shares[1] / max(shares[0], 1e-6)
        if not 1 / FARTHEST < ratio < FARTHEST:
            yield Finding(
                "specaugment_in_padding",
                f"{100 * shares[0]:.1f} % of an utterance's frames are hidden alone, {100 * shares[1]:.1f} % "
                "with twice its length of padding behind it",
            )
    if not bool(alone.any()):
        yield Finding(
            "augmentation_off", f"in {COPIES} utterances nothing is hidden, in training mode at full strength"
        )


def front_end(case: Case) -> Iterator[Finding]:
    """What the encoder is given in training: normalised, 0 where hidden, 0 in the padding."""
    model, batch = copy.deepcopy(case.model), case.batch
    model.freq_warp.width = 0.0  # it changes every value a little
    with torch.no_grad():
        normal = model.eval().front_end(batch.features, batch.feature_lengths)
        model.train()
        model.spec_augment.limit, model.spec_augment.strength = 1.0, 1.0
        torch.manual_seed(0)
        given = torch.stack([model.front_end(batch.features, batch.feature_lengths) for _ in range(8)])
    real = torch.arange(normal.shape[1]) < batch.feature_lengths[:, None]  # (batch, frames)
    beyond = float(normal[~real].abs().max()) if bool((~real).any()) else 0.0
    if beyond > 0:
        yield Finding("padding_not_zero", f"behind the end of an utterance values of up to {beyond:.2f} stand")
    hidden = (given != normal) & real[..., None]
    values = given[hidden]
    if values.numel() and float(values.abs().max()) > 1e-3:
        yield Finding(
            "masked_with_another_value",
            f"hidden places hold {float(values.mean()):.2f} on average after normalisation, not 0 "
            f"({100 * hidden.float().mean():.0f} % of the features are changed)",
        )


def _masked(module: SpecAugment, frames: int, n_mels: int) -> tuple[Tensor, float]:
    """Which places of ``COPIES`` utterances (copies, REAL, n_mels) are hidden, and the share of padding written to."""
    features = torch.full((COPIES, frames, n_mels), 7.0)
    features[:, :REAL] = torch.rand(COPIES, REAL, n_mels) + 1  # nothing that a mask might be filled with
    given = module(features.clone(), torch.full((COPIES,), REAL))
    changed = given != features
    return changed[:, :REAL], float(changed[:, REAL:].float().mean()) if frames > REAL else 0.0
