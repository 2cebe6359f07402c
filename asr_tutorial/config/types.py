"""What the values of a configuration may be, and how strictly they are taken."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

Search: TypeAlias = Literal["greedy", "ctc", "prefix", "attention", "joint", "parallel"]
PLAIN_SEARCHES: tuple[Search, ...] = ("greedy", "ctc", "parallel")
"""Searches without settings; the others are beam searches."""
STEPWISE_SEARCHES: tuple[Search, ...] = ("greedy", "ctc", "prefix", "attention", "joint")
"""Of a model whose decoder writes token by token; the first one is the default, here and below."""
CTC_SEARCHES: tuple[Search, ...] = ("ctc", "prefix")
"""Of a model with the CTC head alone."""
PARALLEL_SEARCHES: tuple[Search, ...] = ("parallel", "ctc", "prefix")
"""Of a model whose decoder writes all tokens at once."""

STRICT = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False, coerce_numbers_to_str=True)
