"""How the tests of exercises speak: what was expected, what came, why it matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

MOST_NUMBERS = 24
"""Larger arrays are not printed in full: the first place where they differ says more."""


def expect(condition: object, expected: str, got: object, why: str) -> None:
    """Fail with three sentences unless ``condition`` is true."""
    if not bool(condition):
        raise AssertionError(_sentences(expected, got, why))


def same(got: Any, expected: Any, why: str, tolerance: float = 1e-5) -> None:
    """Fail unless ``got`` has the shape and the values of ``expected``; NaN is never equal."""
    if got is None or isinstance(got, str | dict | set):
        raise AssertionError(_sentences(_show(expected), f"{got!r}", why))
    try:
        ours, theirs = _numbers(expected), _numbers(got)
    except (TypeError, ValueError, RuntimeError):
        raise AssertionError(_sentences(_show(expected), f"{type(got).__name__} {got!r}", why)) from None
    if theirs.shape != ours.shape:
        raise AssertionError(_sentences(f"shape {ours.shape}", f"shape {theirs.shape}", why))
    wrong = ~np.isclose(theirs, ours, rtol=tolerance, atol=tolerance)
    if not wrong.any():
        return
    if ours.size <= MOST_NUMBERS:
        raise AssertionError(_sentences(_show(expected), _show(got), why))
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    share = f"{int(wrong.sum())} of {wrong.size} values differ, the first at index {first}"
    raise AssertionError(_sentences(f"{ours[first]:.4g} at index {first}", f"{theirs[first]:.4g} ({share})", why))


def _sentences(expected: object, got: object, why: str) -> str:
    lines = {"expected": expected, "got": got, "why": why}
    return "\n".join(f"{name:>8}: " + str(text).replace("\n", "\n" + " " * 10) for name, text in lines.items())


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values)


def _numbers(values: Any) -> np.ndarray:
    return _array(values).astype(np.float64)


def _show(values: Any) -> str:
    array = _array(values)
    return np.array2string(array, precision=4, suppress_small=True, separator=", ", threshold=MOST_NUMBERS)
