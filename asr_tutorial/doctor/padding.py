"""Masks and lengths: an utterance alone and in a batch must be the same, and a token must not see those behind it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from asr_tutorial.doctor.case import Case
from asr_tutorial.doctor.report import Finding, NotApplicable
from asr_tutorial.doctor.targets import output_of

TOLERANCE = 0.02
"""Largest difference, in standard deviations of the output, that rounding may account for."""
INVERTED = 0.9
"""Share of the attention on padding from which on a mask is not missing but inverted."""


def lengths(case: Case) -> Iterator[Finding]:
    """The frames that the encoder says are real are those that it makes of the utterance alone."""
    with torch.no_grad():
        _, mask = case.model.encode(case.batch.features, case.batch.feature_lengths)
    for row, made in enumerate(_frames_alone(case)):
        real, padding = mask[row, :made], mask[row, made:]
        said = int(mask[row].sum())
        if said == made and bool(real.all()):
            continue
        name = case.batch.ids[row]
        if float(real.float().mean()) < 0.1 and float(padding.float().mean()) > INVERTED:
            yield Finding("mask_inverted", f"the encoder's mask of {name} is True on the padding, False on the speech")
        else:
            yield Finding(
                "lengths_not_subsampled",
                f"{name} has {int(case.batch.feature_lengths[row])} feature frames; alone, the encoder makes {made} of "
                f"them, and in a batch of {mask.shape[1]} it says that {said} are real",
            )
        return


def padding(case: Case) -> Iterator[Finding]:
    """Each utterance alone, in a batch, and with noise in its padding: the outputs must agree."""
    batch, model = case.batch, case.model
    frames, length = batch.features.shape[1], batch.tokens_in.shape[1]
    together = output_of(case, slice(None), frames, length)
    with torch.no_grad():
        noisy = batch.features.clone()
        for row, real in enumerate(batch.feature_lengths.tolist()):
            noisy[row, real:] = 50.0
        disturbed = model.encode(noisy, batch.feature_lengths)[0]
    made = _frames_alone(case)
    worst = {"encoder": 0.0, "encoder, with noise in the padding": 0.0, "decoder": 0.0}
    for row, count in enumerate(made):
        tokens = int(batch.target_lengths[row]) + 1
        alone = output_of(case, slice(row, row + 1), int(batch.feature_lengths[row]), tokens)
        _note(worst, "encoder", together.encoder_out[row, :count], alone.encoder_out[0])
        _note(worst, "encoder, with noise in the padding", disturbed[row, :count], together.encoder_out[row, :count])
        if together.logits is not None and alone.logits is not None:
            said = alone.logits.shape[1] if case.stepwise else tokens - 1
            _note(worst, "decoder", together.logits[row, :said], alone.logits[0, :said])
    moved = {place: value for place, value in worst.items() if not value <= TOLERANCE}
    if not moved:
        return
    seen = "; ".join(f"{place}: outputs move by {value:.2f} standard deviations" for place, value in moved.items())
    on_padding = _attention_on_padding(case, made)
    inverted = {name: share for name, share in on_padding.items() if share > INVERTED}
    if inverted:
        name, share = next(iter(inverted.items()))
        yield Finding("mask_inverted", f"{100 * share:.0f} % of {name} lies on the padding; {seen}")
    else:
        most = max(on_padding.items(), key=lambda item: item[1], default=("", 0.0))
        where = f"; {100 * most[1]:.0f} % of {most[0]} lies on the padding" if most[1] > 0.001 else ""
        yield Finding("padding_seen", seen + where)


def causality(case: Case) -> Iterator[Finding]:
    """Change a token; what the decoder says before it must stay."""
    if not case.stepwise:
        raise NotApplicable("no decoder that reads its own past")
    batch, model = case.batch, case.model
    place = max(1, int(batch.target_lengths.min()) // 2)
    changed = batch.tokens_in.clone()
    special = len(case.tokenizer.special_ids)
    changed[:, place] = special + (changed[:, place] - special + 1) % (case.tokenizer.vocab_size - special)
    with torch.no_grad():
        encoder_out, mask = model.encode(batch.features, batch.feature_lengths)
        before = model.decode(batch.tokens_in, encoder_out, mask)
        after = model.decode(changed, encoder_out, mask)
    moved = _difference(after[:, :place], before[:, :place])
    if not moved <= TOLERANCE:
        yield Finding(
            "future_seen",
            f"another token at position {place} moves the answers before it by {moved:.2f} standard deviations",
        )


def _frames_alone(case: Case) -> list[int]:
    """Encoder frames of each utterance of the batch without any padding."""
    made = []
    for row, length in enumerate(case.batch.feature_lengths.tolist()):
        with torch.no_grad():
            features = case.batch.features[row : row + 1, :length]
            made.append(case.model.encode(features, torch.tensor([length]))[0].shape[1])
    return made


def _attention_on_padding(case: Case, made: list[int]) -> dict[str, float]:
    """Share of each layer's attention to the sound that lies on padding, in the row that has least of it."""
    batch, model = case.batch, case.model
    with torch.no_grad():
        maps = model(*model.training_inputs(batch), need_weights=True).attention_maps
    row = int(batch.feature_lengths.argmax())
    shares = {}
    for name, weights in maps.items():
        if weights.shape[-1] < max(made) or ("decoder" in name and "cross" not in name):
            continue
        queries = made[row] if name.startswith("encoder") else int(batch.target_lengths[row])
        attended = weights[row, :, :queries]  # (heads, queries, keys)
        shares[name] = float(attended[..., made[row] :].sum() / attended.sum().clamp(min=1e-9))
    return shares


def _note(worst: dict[str, float], place: str, found: Tensor, expected: Tensor) -> None:
    count = min(len(found), len(expected))
    worst[place] = max(worst[place], _difference(found[:count], expected[:count]))


def _difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, in standard deviations of what was expected; infinite where something is not finite."""
    difference = float((found - expected).abs().max() / expected.std().clamp(min=1e-6))
    return difference if difference == difference else float("inf")
