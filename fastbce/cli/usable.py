"""The rows that can be used, and the levels and columns that tell something in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastbce._columns import TableError
from fastbce._typing import Array
from fastbce.model_file import Feature, Label

from .screen import OneClass, border_of, one_class_levels, separates, used_levels

MOST_LISTED = 30


@dataclass(frozen=True)
class _Lone:
    """What of a column has one class only, in which rows, and the column without it if constant."""

    alone: list[OneClass]
    gone: Array
    rest: Feature | None


@dataclass
class Usable:
    """Features, and their values in the rows that can be used."""

    source: Path
    features: list[Feature]
    values: dict[str, Array]
    y: Array
    beside: dict[str, Array]  # weights, offset and clusters of the rows, by column
    classes: tuple[Label, Label]
    left_out: dict[str, str]
    ways_out: tuple[str, ...]  # options with which there is a maximum

    def settle(self, pool_rare: int = 0) -> None:
        """Leave out the levels and columns that tell nothing in these rows; pool rare levels."""
        settled = []
        for read in self.features:
            feature, found = read, self.values[read.name]
            if read.levels is None:
                constant = f"{found[0]:g}" if found.min() == found.max() else None
            elif len(read.levels) == 1:  # its other levels were left out with their rows
                constant = None
            else:
                feature, found, unused = used_levels(read, found, pool_rare)
                for level in unused:
                    why = "occurs only in rows that are dropped"
                    self.left_out.setdefault(f"{read.name}={level}", why)
                levels = feature.levels or ()
                constant = repr(levels[0]) if len(levels) == 1 else None
            if constant is not None:
                why = f"is constant ({constant}) in the rows that can be used"
                self.left_out[read.name] = why
                del self.values[read.name]
                continue
            self.values[read.name] = found
            settled.append(feature)
        self.features = settled

    def _one_class(self, feature: Feature) -> _Lone | None:
        """Return the levels, or the values of a column of numbers, that tell the class alone."""
        found = self.values[feature.name]
        grouped = _as_groups(feature, found)
        if grouped is None:
            return self._one_class_but_at(feature, found)
        made, codes = grouped
        levels = made.levels or ()
        alone = one_class_levels(made, codes, self.y, self.classes) if len(levels) > 1 else []
        if not alone:
            return None
        names = {one.level for one in alone}
        gone = np.isin(codes, [i for i, level in enumerate(levels) if level in names])
        rest = tuple(level for level in levels if level not in names)
        return _Lone(alone, gone, Feature(feature.name, rest) if len(rest) == 1 else None)

    def _one_class_but_at(self, feature: Feature, found: Array) -> _Lone | None:
        """Return what a column of numbers tells that has both classes at one value only.

        Where that value is rare, the column is the target in other words, and is refused.
        """
        if separates(feature.name, found, self.y) is None:
            return None
        border = border_of(found, self.y)
        there = found == border
        if 2 * np.count_nonzero(there) < len(there) or len(np.unique(self.y[there])) < 2:
            return None
        what = f"{np.count_nonzero(~there)} rows, whose class it tells"
        value = _spelled(border)
        alone = OneClass(feature.name, f"{feature.name}!={value}", what)
        return _Lone([alone], ~there, Feature(feature.name, (value,)))

    def without_one_class(self, among: Collection[str] | None = None, *, strict: bool) -> None:
        """Leave out the levels with one class, and their rows, until there are none.

        The likelihood grows with their coefficients without bound, and in the limit it is that of
        the other rows: so all other coefficients are as they would be with them. A column that has
        one value in the rest has no coefficient, but predictions must know of that value.

        Parameters
        ----------
        among : collection of str, optional
            The groups to look at, where a formula has others in interactions only.
        strict : bool
            Whether it is an error.

        Raises
        ------
        TableError
            If that leaves one class, or if nothing may be left out.
        """
        found: list[OneClass] = []
        while lone := self._lone(among):
            alone = [one for column in lone.values() for one in column.alone]
            found += alone
            gone: Array = np.logical_or.reduce([column.gone for column in lone.values()])
            if strict or len(np.unique(self.y[~gone])) < 2:
                raise self._separation(found)
            for one in alone:
                self.left_out[one.name] = f"one class only, and its rows with it: {one.what}"
            for place, feature in enumerate(self.features):
                rest = lone[feature.name].rest if feature.name in lone else None
                if rest is not None:
                    self.features[place] = rest
                    self.values[feature.name] = np.zeros(len(self.y), np.int16)
            self._cut(~gone)
            self.settle()

    def _lone(self, among: Collection[str] | None) -> dict[str, _Lone]:
        """Return what of each column has one class."""
        return {
            feature.name: found
            for feature in self.features
            if (among is None or (feature.levels is not None and feature.name in among))
            and (found := self._one_class(feature))
        }

    def _cut(self, rows: Array) -> None:
        self.y = self.y[rows]
        self.beside = {name: found[rows] for name, found in self.beside.items()}
        self.values = {name: found[rows] for name, found in self.values.items()}

    def refuse_separation(self) -> None:
        """Raise where columns of numbers separate the classes, each alone; name all of them."""
        alone = [
            one
            for feature in self.features
            if feature.levels is None
            and (one := separates(feature.name, self.values[feature.name], self.y)) is not None
        ]
        if alone:
            raise self._separation(alone)

    def _separation(self, alone: Sequence[OneClass]) -> TableError:
        listed = ", ".join(f"{one.name} ({one.what})" for one in alone[:MOST_LISTED])
        more = f", and {len(alone) - MOST_LISTED} more" if len(alone) > MOST_LISTED else ""
        ways = []
        enough = self._enough_to_pool(alone)
        if enough:
            ways.append(f"--pool-rare {enough} (levels with fewer rows become one)")
        dropped = list(dict.fromkeys(one.feature for one in alone))
        ways += [f"--drop {','.join(dropped)}"] * (len(dropped) < len(self.features))
        ways += self.ways_out
        return TableError(
            f"{self.source}: the classes separate, so the likelihood has no maximum, by each of "
            f"these alone: {listed}{more}; give {', or '.join(ways)}"
        )

    def _enough_to_pool(self, alone: Sequence[OneClass]) -> int:
        """Return the number for --pool-rare after which no level has one class, or 0."""
        grouped = {feature.name for feature in self.features if feature.levels is not None}
        if any(one.feature not in grouped for one in alone):
            return 0
        enough = 1 + max(one.rows for one in alone)
        for feature in self.features:
            if feature.levels is None:
                continue
            pooled, codes, _ = used_levels(feature, self.values[feature.name], enough)
            # A column that pooling makes constant is left out, and separates nothing.
            if len(pooled.levels or ()) > 1 and one_class_levels(pooled, codes, self.y, (0, 1)):
                return 0
        return enough


def _as_groups(feature: Feature, found: Array) -> tuple[Feature, Array] | None:
    """Return a feature of levels, or a column of two numbers as one; None for other numbers."""
    if feature.levels is not None:
        return feature, found
    low, high = found.min(), found.max()
    if not np.all((found == low) | (found == high)):
        return None
    levels = tuple(_spelled(float(value)) for value in (low, high))
    return Feature(feature.name, levels), (found == high).astype(np.int16)


def _spelled(value: float) -> str:
    """Return a number as a column of groups spells it."""
    return str(int(value)) if value.is_integer() else repr(value)
