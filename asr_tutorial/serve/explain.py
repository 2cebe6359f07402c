"""What the web page draws: the mel picture, where CTC hears the text, where the decoder looks, search beside search."""

from __future__ import annotations

import base64
import time
from typing import Any

import torch
from torch import Tensor

from asr_tutorial.ctc import forced_align
from asr_tutorial.recognizer import Recognizer, decode_encoded, evaluating
from asr_tutorial.serve.engine import Engine, Recording

COMPARED = ("greedy", "ctc", "parallel", "joint")
"""Searches that are run beside each other, as far as a model has them; the last one also with a language model."""


def picture(values: Tensor, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """A matrix as bytes in base64, a twentieth of what its numbers take in JSON.

    Args:
        values: (rows, columns).
        low: the value that becomes 0; None: the smallest.
        high: the value that becomes 255; None: the largest.
    """
    values = values.float().cpu()
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    levels = ((values - low) * (255 / max(high - low, 1e-9))).round().clamp(0, 255).to(torch.uint8)
    data = base64.b64encode(levels.numpy().tobytes()).decode("ascii")
    return {"shape": list(values.shape), "data": data, "low": low, "high": high}


def explain(engine: Engine, recording: Recording, text: str) -> dict[str, Any]:
    """Everything of :class:`~asr_tutorial.serve.schemas.Explanation` that ``/transcribe`` does not have.

    Args:
        engine: with the recogniser.
        recording: of one piece.
        text: what was recognised, for alignment and attention.
    """
    recognizer = engine.recognizer
    features = recording.pieces[0]
    settings = recognizer.config.features
    return {
        "mel": {
            **picture(features),
            "frame_shift": recognizer.frame_seconds,
            "low_hz": settings.low_freq,
            "high_hz": settings.high_freq if settings.high_freq > 0 else settings.sample_rate / 2 + settings.high_freq,
        },
        "alignment": _alignment(recognizer, features, text),
        "attention": _attention(recognizer, features, text),
        "comparison": _comparison(engine, features),
    }


def _alignment(recognizer: Recognizer, features: Tensor, text: str) -> dict[str, Any]:
    """The best path and the posteriors of the text's tokens, by the CTC head."""
    tokenizer = recognizer.tokenizer
    log_probs = recognizer._ctc_log_probs(recognizer._collate([features])).cpu()  # (encoder_frames, vocab)
    step, first = recognizer.encoder_frame_seconds, recognizer.encoder_start_seconds
    ids = tokenizer.encode(text)
    names = [tokenizer.id_to_token(token) for token in ids]
    try:
        alignment = forced_align(log_probs, torch.tensor(ids, dtype=torch.long), tokenizer.blank_id)
    except ValueError:
        tokens = None
    else:
        tokens = [
            {
                "token": name,
                "start": max(first + start * step, 0.0),
                "end": first + end * step,
                "confidence": float(log_probs[start:end, token].exp().mean()),
            }
            for name, token, (start, end) in zip(names, ids, alignment.spans, strict=True)
        ]
    best, said = log_probs.exp().max(dim=1)
    path = [
        {"token": tokenizer.id_to_token(token), "probability": probability}
        for token, probability in zip(said.tolist(), best.tolist(), strict=True)
    ]
    columns = [*ids, tokenizer.blank_id]
    return {
        "frame_shift": step,
        "start": first,
        "tokens": tokens,
        "path": path,
        "columns": [*names, tokenizer.id_to_token(tokenizer.blank_id)],
        "posteriors": picture(log_probs[:, columns].exp(), 0.0, 1.0),
    }


def _attention(recognizer: Recognizer, features: Tensor, text: str) -> dict[str, Any] | None:
    """Cross-attention (tokens, encoder_frames) of the last decoder layer, the mean of its heads."""
    model, tokenizer = recognizer.model, recognizer.tokenizer
    if "greedy" not in model.searches:
        return None
    ids = tokenizer.encode(text)
    batch = recognizer._collate([features])
    tokens_in = torch.tensor([[tokenizer.sos_id, *ids]], device=recognizer.device)
    with evaluating(model):
        output = model(batch.features, batch.feature_lengths, tokens_in, need_weights=True)
    frames = int(output.encoder_mask.sum())
    layers = [name for name in output.attention_maps if name.endswith("cross_attention")]
    weights = output.attention_maps[layers[-1]][0].mean(dim=0)[:, :frames]  # (tokens, encoder_frames)
    return {
        **picture(weights, 0.0),
        "frame_shift": recognizer.encoder_frame_seconds,
        "start": recognizer.encoder_start_seconds,
        "tokens": [tokenizer.id_to_token(token) for token in [*ids, tokenizer.eos_id]],
    }


def _comparison(engine: Engine, features: Tensor) -> list[dict[str, Any]]:
    """What each search finds, with its score and time; a search that the service cannot do has the reason."""
    recognizer = engine.recognizer
    rows = [_search(recognizer, features, name, False) for name in COMPARED if name in recognizer.model.searches]
    beam = "joint" if "joint" in recognizer.model.searches else "prefix"
    if beam == "prefix":
        rows.append(_search(recognizer, features, beam, False))
    if recognizer.language_model is not None:
        rows.append(_search(recognizer, features, beam, True))
    else:
        reason = "this service has no language model: start it with --lm DIR"
        rows.append({"search": f"{beam}+lm", "text": None, "score": None, "ms": None, "reason": reason})
    return rows


def _search(recognizer: Recognizer, features: Tensor, name: Any, with_lm: bool) -> dict[str, Any]:
    plain = name not in ("prefix", "attention", "joint")
    given = {} if plain or with_lm else {"lm_weight": 0.0}
    started = time.perf_counter()
    model = recognizer.model
    batch = recognizer._collate([features])
    with evaluating(model):
        encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
        decoded = decode_encoded(
            model,
            recognizer.tokenizer,
            encoder_out,
            encoder_mask,
            name,
            recognizer.search_options(name, **given),
            recognizer.language_model if with_lm else None,
        )[0]
    return {
        "search": f"{name}+lm" if with_lm else name,
        "text": decoded.text,
        "score": decoded.n_best[0].score,
        "ms": round(1000 * (time.perf_counter() - started), 3),
        "reason": None,
    }
