"""What a column becomes in a model: itself, or indicators of its levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ._columns import Column
from ._typing import Array

__all__ = ["Encoded", "Feature", "encode", "frame_of", "indicators", "known"]

MISSING, UNKNOWN = -1, -2


@dataclass(frozen=True)
class Feature:
    """What a column becomes: itself, or (with levels) an indicator for each level but the first.

    The levels in `pooled` count as the last of `levels`, and those in `without` have no indicator
    of their own, because other columns make it up.
    """

    name: str
    levels: tuple[str, ...] | None = None
    pooled: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def indicated(self) -> tuple[int, ...]:
        """Numbers of the levels that have an indicator."""
        levels = self.levels or ()
        return tuple(i for i in range(1, len(levels)) if levels[i] not in self.without)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of the matrix."""
        if self.levels is None:
            return (self.name,)
        return tuple(f"{self.name}={self.levels[i]}" for i in self.indicated)


class Encoded(NamedTuple):
    """A column as numbers (NaN is missing), or as numbers of levels; and levels nobody knows."""

    values: Array
    unknown: dict[str, tuple[int, int]]  # how often each occurs, and its first row


def encode(column: Column, feature: Feature) -> Encoded:
    """Return a column as the numbers or the levels' numbers that a feature makes of it.

    Raises
    ------
    TableError
        If a feature of numbers meets something else.
    """
    if feature.levels is None:
        return Encoded(column.numbers(), {})
    number = {level: i for i, level in enumerate(feature.levels)}
    number |= dict.fromkeys(feature.pooled, len(feature.levels) - 1)
    rows, found = column.codes()
    places = np.array([number.get(level, UNKNOWN) for level in found] + [MISSING], np.int16)
    unknown = {}
    for i, level in enumerate(found):
        if level not in number:
            hits = rows == i
            unknown[level] = (int(np.count_nonzero(hits)), int(np.argmax(hits)))
    return Encoded(places[rows], unknown)


def known(values: Array, feature: Feature) -> Array:
    """Return which cells of an encoded column are neither missing nor unknown."""
    return np.asarray(~np.isnan(values) if feature.levels is None else values >= 0)


def frame_of(features: Sequence[Feature], values: Mapping[str, Array]) -> Any:
    """Return encoded columns as a frame of numbers and categories, as formulas take them."""
    import pandas as pd

    return pd.DataFrame(
        {
            feature.name: values[feature.name].astype(np.float64)
            if feature.levels is None
            else pd.Categorical.from_codes(values[feature.name], feature.levels)
            for feature in features
        }
    )


def indicators(values: Array, feature: Feature) -> list[Array]:
    """Return the columns of the matrix, NaN where something is missing or unknown."""
    if feature.levels is None:
        return [values]
    zero = np.where(known(values, feature), 0.0, np.nan)
    return [zero + (values == level) for level in feature.indicated]
