"""From a table to what is fitted: which rows and columns are used, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fastbce._columns import TableError
from fastbce._typing import Array
from fastbce.model_file import Feature, Label, encode

from .reading import Choices, Reading, read_columns
from .screen import (
    OneClass,
    combination,
    made_up,
    one_class_levels,
    separates,
    used_levels,
)
from .tables import Table
from .target import target_of

# The largest whole number up to which float32 holds all of them.
WHOLE_FLOAT32 = 1 << 24
MOST_LISTED = 30


@dataclass(frozen=True)
class Request:
    """What is to be fitted, as the user says it."""

    target: str
    positive: str | None = None
    weights: str | None = None
    choices: Choices = field(default_factory=Choices)
    missing: str = "drop"
    strict: bool = False
    penalised: bool = False


@dataclass
class Data:
    """What is fitted, and what became of the table."""

    X: Array
    y: Array
    weight: Array | None
    features: list[Feature]
    classes: tuple[Label, Label]
    rows: int  # of the table
    missing: dict[str, int]  # missing cells by column
    left_out: dict[str, str]  # columns and levels without a coefficient, and why

    @property
    def names(self) -> list[str]:
        """Names of the columns of the matrix."""
        return [name for feature in self.features for name in feature.outputs]


def said_of(source: Path, error: TableError) -> str:
    """Return what an error says of a file, without its name."""
    return str(error).removeprefix(f"{source}:").removeprefix(str(source)).strip()


def fail(source: Path, problems: Sequence[str]) -> None:
    """Raise one error for all problems, each on a line of its own where there are several."""
    if len(problems) == 1:
        raise TableError(f"{source}: {problems[0]}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise TableError(f"{source}: {len(problems)} problems{lines}")


def prepare(table: Table, request: Request) -> Data:
    """Return what is fitted.

    Raises
    ------
    TableError
        It names all problems of the table.
    """
    source = table.source
    problems: list[str] = []
    weight = None
    try:
        labels, known, classes = target_of(table, request.target, request.positive)
    except TableError as error:
        problems.append(said_of(source, error))
    try:
        weight = _weights(table, request.weights)
    except TableError as error:
        problems.append(said_of(source, error))
    used = [name for name in (request.target, request.weights) if name is not None]
    reading = read_columns(table, used, request.choices)
    problems += reading.problems
    if request.strict:
        problems += [_strictly(name, why) for name, why in reading.left_out.items()]
    fail(source, problems)
    if not reading.features:
        listed = "; ".join(f"{name!r} {why}" for name, why in reading.left_out.items())
        raise TableError(f"{source}: no column beside the target can be used: {listed}")
    missing = {request.target: int(np.count_nonzero(~known))}
    keep = known
    if weight is not None and request.weights is not None:
        gone = np.isnan(weight)
        missing[request.weights] = int(np.count_nonzero(gone))
        keep &= ~gone
    values = _encoded(table, reading.features, keep, missing)
    missing = {name: count for name, count in missing.items() if count}
    _check_missing(source, keep, missing, request)
    if weight is not None:
        keep &= weight > 0
        weight = weight[keep]
    y = labels[keep]
    _check_classes(source, y, missing)
    features, alone = _screened(reading, values, keep, y, (request.choices, classes))
    if not request.penalised:
        _refuse_one_class(source, alone, features, values, y)
    if not features:
        listed = "; ".join(f"{name!r} {why}" for name, why in reading.left_out.items())
        raise TableError(f"{source}: no column beside the target can be used: {listed}")
    X = _matrix(features, values, len(y))
    X, features = _independent(X, features, reading.left_out)
    if request.strict:
        fail(source, [_strictly(name, why) for name, why in reading.left_out.items()])
    return Data(X, y, weight, features, classes, table.rows, missing, reading.left_out)


def _strictly(name: str, why: str) -> str:
    return f"{name!r} {why}; leave it out with --drop, or do without --strict"


def _weights(table: Table, name: str | None) -> Array | None:
    if name is None:
        return None
    column = table.column(name, fitting=True)
    weight = np.asarray(column.numbers(), np.float64)
    negative = weight < 0
    if negative.any():
        row = int(np.argmax(negative))
        column.refuse(f"is negative in {column.place(row)}", "weights are from 0 on")
    return weight


def _encoded(
    table: Table, features: Sequence[Feature], keep: Array, missing: dict[str, int]
) -> dict[str, Array]:
    """Return each column in its final type; clear `keep` where one is missing, and count."""
    values = {}
    for feature in features:
        found = _small(encode(table.column(feature.name, fitting=True), feature).values)
        # What is encoded is not needed twice.
        del table.columns[feature.name]
        gone = found < 0 if feature.levels is not None else np.isnan(found)
        missing[feature.name] = int(np.count_nonzero(gone))
        keep &= ~gone
        values[feature.name] = found
    return values


def _small(values: Array) -> Array:
    """Return numbers as float32 where that holds them exactly; codes stay as they are."""
    if values.dtype == np.int16:
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if values.dtype.kind in "iu":
        exact = np.abs(values).max(initial=0) <= WHOLE_FLOAT32
    else:
        exact = bool(np.array_equal(narrow, values, equal_nan=True))
    return narrow if exact else values.astype(np.float64, copy=False)


def missing_text(rows: int, dropped: int, missing: dict[str, int]) -> str:
    """Return how many rows have missing values, and in which columns."""
    order = sorted(missing, key=lambda name: -missing[name])
    shown = ", ".join(f"{name} {missing[name]}" for name in order[:MOST_LISTED])
    more = f", and {len(order) - MOST_LISTED} more columns" if len(order) > MOST_LISTED else ""
    return f"{dropped} of {rows} rows dropped, because a value is missing: {shown}{more}"


def _check_missing(source: Path, keep: Array, missing: dict[str, int], request: Request) -> None:
    dropped = int(np.count_nonzero(~keep))
    if not dropped:
        return
    counts = ", ".join(f"{name} {count}" for name, count in list(missing.items())[:MOST_LISTED])
    if request.missing == "error" or request.strict:
        row = int(np.argmin(keep)) + 1
        raise TableError(
            f"{source}: values are missing in {dropped} rows, the first is row {row} ({counts})"
        )
    if dropped == len(keep):
        raise TableError(
            f"{source}: each row has a missing value ({counts}); leave columns out with --drop"
        )


def _check_classes(source: Path, y: Array, missing: dict[str, int]) -> None:
    if int(y.sum()) in (0, len(y)):
        counts = ", ".join(
            f"{name} {missing[name]}" for name in sorted(missing, key=lambda n: -missing[n])[:5]
        )
        rows = f"{source}: in the {len(y)} rows that can be used the target has one value"
        advice = f"; values are missing in {counts}: leave columns out with --drop"
        raise TableError(rows + (advice if counts else ""))


def _screened(
    reading: Reading,
    values: dict[str, Array],
    keep: Array,
    y: Array,
    about: tuple[Choices, tuple[Label, Label]],
) -> tuple[list[Feature], list[OneClass]]:
    """Return the features that tell something in the rows that are kept; cut `values` to these."""
    choices, classes = about
    features, alone = [], []
    whole = bool(keep.all())
    for read in reading.features:
        feature = read
        found = values[feature.name] if whole else values[feature.name][keep]
        if feature.levels is None:
            if found.min() == found.max():
                reading.left_out[feature.name] = (
                    f"is constant ({found[0]:g}) in the rows that can be used"
                )
                del values[feature.name]
                continue
            separating = separates(feature.name, found, y)
            if separating is not None:
                alone.append(separating)
        else:
            feature, found, unused = used_levels(feature, found, choices.pool_rare)
            for level in unused:
                reading.left_out[f"{feature.name}={level}"] = "occurs only in rows that are dropped"
            if feature.levels is not None and len(feature.levels) == 1:
                reading.left_out[feature.name] = (
                    f"is constant ({feature.levels[0]!r}) in the rows that can be used"
                )
                del values[feature.name]
                continue
            alone += one_class_levels(feature, found, y, classes)
        values[feature.name] = found
        features.append(feature)
    return features, alone


def _refuse_one_class(
    source: Path,
    alone: Sequence[OneClass],
    features: Sequence[Feature],
    values: dict[str, Array],
    y: Array,
) -> None:
    """Raise where levels have one class only, or columns separate the classes alone; name all."""
    if not alone:
        return
    listed = ", ".join(f"{one.name} ({one.what})" for one in alone[:MOST_LISTED])
    more = f", and {len(alone) - MOST_LISTED} more" if len(alone) > MOST_LISTED else ""
    ways = []
    enough = _enough_to_pool(alone, features, values, y)
    if enough:
        ways.append(f"--pool-rare {enough} (levels with fewer rows become one)")
    dropped = list(dict.fromkeys(one.feature for one in alone))
    ways += [f"--drop {','.join(dropped)}"] * (len(dropped) < len(features))
    ways.append("--C 1 (a penalty, so no p-values)")
    raise TableError(
        f"{source}: the classes separate, so the likelihood has no maximum, by each of these "
        f"alone: {listed}{more}; give {', or '.join(ways)}"
    )


def _enough_to_pool(
    alone: Sequence[OneClass], features: Sequence[Feature], values: dict[str, Array], y: Array
) -> int:
    """Return the number of rows for --pool-rare after which no level has one class, or 0."""
    if any(not one.rows for one in alone):
        return 0
    enough = 1 + max(one.rows for one in alone)
    for feature in features:
        if feature.levels is None:
            continue
        pooled, codes, _ = used_levels(feature, values[feature.name], enough)
        # A column that pooling makes constant is left out, and separates nothing.
        if len(pooled.levels or ()) > 1 and one_class_levels(pooled, codes, y, (0, 1)):
            return 0
    return enough


def _matrix(features: Sequence[Feature], values: dict[str, Array], rows: int) -> Array:
    """Return the matrix in Fortran order; `values` are given up column by column."""
    width = sum(len(feature.outputs) for feature in features)
    exact = all(values[f.name].dtype != np.float64 for f in features)
    X = np.empty((rows, width), np.float32 if exact else np.float64, order="F")
    place = 0
    for feature in features:
        found = values.pop(feature.name)
        columns = [found] if feature.levels is None else [found == i for i in feature.indicated]
        for column in columns:
            X[:, place] = column
            place += 1
    return X


def _independent(
    X: Array, features: list[Feature], left_out: dict[str, str]
) -> tuple[Array, list[Feature]]:
    """Return the matrix and features without the columns that those before them make up."""
    found = made_up(X)
    if not found:
        return X, features
    names = [name for feature in features for name in feature.outputs]
    for place, factors in found.items():
        left_out[names[place]] = f"is {combination(factors, names)}"
    kept = [place for place in range(X.shape[1]) if place not in found]
    changed, start = [], 0
    for feature in features:
        size, levels = len(feature.outputs), feature.levels or ()
        gone = [i - start for i in found if start <= i < start + size]
        start += size
        if len(gone) == size:
            continue
        without = tuple(levels[feature.indicated[i]] for i in sorted(gone))
        changed.append(replace(feature, without=without))
    narrow = np.empty((len(X), len(kept)), X.dtype, order="F")
    for place, column in enumerate(kept):
        narrow[:, place] = X[:, column]
    return narrow, changed
