"""What the rows that can be used tell of levels and columns: unused, constant, alone, made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from fastbce._typing import Array
from fastbce.model_file import Feature

POOLED = "(pooled)"
# Elements that are standardised at a time.
CHUNK = 1 << 20
# Share of a column's variance beyond the columns before it, below which it is looked at closely:
# sums of squares lose the digits below.
CANDIDATE = 1e-8
# Root of the mean square distance from the others' combination, in standard deviations, of a column
# that they make up. It is R's tolerance: sums of numbers that were float32 once are off by 5e-8.
MADE_UP = 1e-7
SHOWN = 3
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class OneClass:
    """A level, or a column, that separates the classes alone."""

    feature: str
    name: str
    what: str
    level: str = ""
    rows: int = 0


def used_levels(feature: Feature, codes: Array, pool_rare: int) -> tuple[Feature, Array, list[str]]:
    """Return the feature with the levels that occur, rare ones pooled, and its codes.

    Parameters
    ----------
    feature : Feature
        With levels.
    codes : ndarray of int
        The number of each row's level; none is missing.
    pool_rare : int
        Levels with fewer rows are pooled. If all that are pooled have fewer rows together, the next
        rarest joins them.

    Returns
    -------
    feature : Feature
        The pooled level comes last.
    codes : ndarray of int
        Numbers of its levels.
    unused : list of str
        Levels that do not occur.
    """
    levels = feature.levels or ()
    counts = np.bincount(codes, minlength=len(levels))
    order = [int(i) for i in np.argsort(counts, kind="stable") if counts[i]]
    rare: list[int] = []
    for i in order:
        if counts[i] < pool_rare or (rare and counts[rare].sum() < pool_rare):
            rare.append(i)
    kept = [i for i in range(len(levels)) if counts[i] and i not in rare]
    names = [levels[i] for i in kept]
    place = np.full(len(levels), len(kept), np.int16)
    place[kept] = np.arange(len(kept))
    if rare:
        names.append(POOLED)
    # Pooled before: those stay, as long as some of their rows do.
    before = feature.pooled if POOLED in names and not rare else ()
    pooled = tuple(levels[i] for i in sorted(rare)) or before
    changed = replace(feature, levels=tuple(names), pooled=pooled)
    return changed, place[codes], [levels[i] for i in range(len(levels)) if not counts[i]]


def one_class_levels(
    feature: Feature, codes: Array, y: Array, classes: Sequence[object]
) -> list[OneClass]:
    """Return the levels in which all rows have the same class."""
    levels = feature.levels or ()
    counts = np.bincount(codes, minlength=len(levels))
    ones = np.bincount(codes[y > 0], minlength=len(levels))
    return [
        OneClass(
            feature.name,
            f"{feature.name}={levels[i]}",
            f"{counts[i]} rows, all {classes[int(ones[i] > 0)]!r}",
            levels[i],
            int(counts[i]),
        )
        for i in range(len(levels))
        if ones[i] in (0, counts[i])
    ]


def separates(name: str, values: Array, y: Array) -> OneClass | None:
    """Return a column of numbers that separates the classes alone, or None."""
    low, high = values[y == 0], values[y > 0]
    if low.max() <= high.min() or high.max() <= low.min():
        return OneClass(name, name, f"the classes part at {border_of(values, y):g}")
    return None


def border_of(values: Array, y: Array) -> float:
    """Return where the classes part in a column that separates them."""
    low, high = values[y == 0], values[y > 0]
    return float(low.max() if low.max() <= high.min() else high.max())


def made_up(X: Array, *, centered: bool = True) -> dict[int, dict[int, float]]:
    """Return the columns that are combinations of those before them, and the factors.

    The constant is before all of them if they are `centered`.

    The columns are taken in their order, and the last of a dependent group is found, as R does.
    What the sum of squares leaves in doubt is decided by the distances of the rows themselves.
    """
    n, d = X.shape
    # Squares of values of 1e200 would overflow.
    unit = np.maximum(np.maximum(X.max(axis=0), -X.min(axis=0)).astype(np.float64), TINY)
    center = np.array([np.mean(X[:, j] / unit[j]) if centered else 0.0 for j in range(d)])
    spread = np.array([np.sqrt(np.mean((X[:, j] / unit[j] - center[j]) ** 2)) for j in range(d)])
    scale = np.where(spread > 0, spread, 1.0)

    def over_rows(function: Callable[[Array], Array]) -> list[Array]:
        step = max(CHUNK // max(d, 1), 1)
        return [
            function((X[start : start + step] / unit - center) / scale)
            for start in range(0, n, step)
        ]

    gram: Array = sum(over_rows(lambda Z: Z.T @ Z), np.zeros((d, d))) / n
    root = np.zeros((d, d))
    kept: list[int] = []
    found: dict[int, dict[int, float]] = {}
    for j in range(d):
        k = len(kept)
        part = np.zeros(0)
        if k:
            part = solve_triangular(root[:k, :k], gram[kept, j], lower=True, check_finite=False)
        rest = gram[j, j] - part @ part
        if rest < CANDIDATE:
            factors = np.zeros(0)
            if k:
                factors = solve_triangular(root[:k, :k].T, part, check_finite=False)
            away = np.concatenate(
                over_rows(lambda Z, j=j, factors=factors: Z[:, j] - Z[:, kept] @ factors)  # type: ignore[misc]
            )
            if np.sqrt(np.mean(away**2)) <= MADE_UP:
                with np.errstate(over="ignore"):
                    raw = factors * (scale[j] / scale[kept]) * (unit[j] / unit[kept])
                named = np.abs(factors) > 1e-6
                found[j] = {kept[i]: float(raw[i]) for i in np.flatnonzero(named)}
                continue
            rest = max(float(np.mean(away**2)), TINY)
        root[k, :k], root[k, k] = part, np.sqrt(rest)
        kept.append(j)
    return found


def combination(factors: dict[int, float], names: Sequence[str]) -> str:
    """Return what a column is made up of, in words."""
    parts = [names[i] for i in factors]
    if len(parts) == 1:
        (factor,) = factors.values()
        return f"the same as {parts[0]}" if abs(factor - 1) < 1e-6 else f"a multiple of {parts[0]}"
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return f"made up by {', '.join(parts[:SHOWN])}{more}"
