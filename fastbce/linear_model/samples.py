"""Samples that a fit reads again and again: in memory here, elsewhere in chunks.

All that a fit wants to know of its samples is a function of a chunk of them, combined over all
chunks. So the solvers and the inference are the same wherever the samples are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from fastbce._inputs import Array

T = TypeVar("T")

# Rows that are solved first, where there are at least so many times more.
PART_ROWS, PART_ROWS_PER_COLUMN, LEAST_THINNING = 1 << 14, 64, 4
# Of samples in memory a part may have so many times these rows, and is itself solved by parts, down
# to so many.
PART_GROWTH, LEAST_PART = 4, 1 << 12
# Samples that are not in memory are not brought there for a part of more columns.
PART_COLUMNS = 256


def add(first: Any, second: Any) -> Any:
    """Add two tuples element by element; None stays None."""
    return tuple(None if a is None else a + b for a, b in zip(first, second, strict=True))


def part_size(columns: int) -> int:
    """Return the number of rows that tell nearly all about so many columns."""
    return max(PART_ROWS, PART_ROWS_PER_COLUMN * (columns + 1))


class Rows(Protocol):
    """Samples with labels of 0 and 1, and perhaps weights."""

    @property
    def n(self) -> int:
        """Number of samples."""

    @property
    def columns(self) -> int:
        """Number of variables."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the variables."""

    @property
    def weighted(self) -> bool:
        """Whether there are weights."""

    @property
    def offset(self) -> Array | None:
        """What is added to the logits; only of samples in memory, which are one chunk."""

    @property
    def total(self) -> float:
        """Sum of the weights, or the number of samples."""

    @property
    def positives(self) -> float:
        """Sum of the weights of the samples with label 1, or their number."""

    def reduce(
        self,
        function: Callable[[Array, Array, Array | None], T],
        combine: Callable[[T, T], T] = add,
    ) -> T:
        """Return the combined results of ``function(X, y, weight)`` of all chunks."""

    def part(self) -> Memory | None:
        """Return every k-th sample, or None where there are few anyway."""

    def sample(self, rows: int) -> Memory:
        """Return some samples from all over, at least so many of them where there are."""


@dataclass(frozen=True)
class Memory:
    """Samples in memory are one chunk."""

    X: Array
    y: Array
    weight: Array | None = None
    offset: Array | None = None

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.X.shape[0])

    @property
    def columns(self) -> int:
        """Number of variables."""
        return int(self.X.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the variables."""
        return self.X.dtype

    @property
    def weighted(self) -> bool:
        """Whether there are weights."""
        return self.weight is not None

    @cached_property
    def total(self) -> float:
        """Sum of the weights, or the number of samples."""
        return float(self.n if self.weight is None else self.weight.sum())

    @cached_property
    def positives(self) -> float:
        """Sum of the weights of the samples with label 1, or their number."""
        if self.weight is None:
            return float(np.count_nonzero(self.y))
        return float(self.weight[self.y != 0].sum())

    def reduce(
        self,
        function: Callable[[Array, Array, Array | None], T],
        combine: Callable[[T, T], T] = add,
    ) -> T:
        """Return ``function(X, y, weight)``; there is nothing to combine it with."""
        return function(self.X, self.y, self.weight)

    def part(self) -> Memory | None:
        """Return every k-th sample, or None where there are few anyway."""
        every = max(self.n // (PART_GROWTH * part_size(self.columns)), LEAST_THINNING)
        least = max(LEAST_PART, PART_ROWS_PER_COLUMN * (self.columns + 1))
        return self.thinned(every) if self.n // every >= least else None

    def sample(self, rows: int) -> Memory:
        """Return every k-th sample, at least so many where there are."""
        return self.thinned(max(self.n // rows, 1))

    def thinned(self, every: int) -> Memory:
        """Return every so many-th sample; `X` is not copied."""
        step = slice(None, None, every)
        weight, offset = (
            None if array is None else np.ascontiguousarray(array[step])
            for array in (self.weight, self.offset)
        )
        return Memory(self.X[step], np.ascontiguousarray(self.y[step]), weight, offset)
