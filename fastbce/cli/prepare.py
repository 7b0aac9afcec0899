"""From a table to what is fitted: which rows and columns are used, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fastbce._columns import Column, TableError
from fastbce._formulas import Formula, Variables
from fastbce._typing import Array
from fastbce.model_file import Feature, Label, encode

from .by_formula import by_formula
from .formats import release_memory
from .reading import Choices, Reading, read_columns
from .screen import CHUNK, combination, made_up
from .tables import Table
from .target import target_of
from .usable import Usable

# The largest whole number up to which float32 holds all of them.
WHOLE_FLOAT32 = 1 << 24
MOST_LISTED = 30


@dataclass(frozen=True)
class Request:
    """What is to be fitted, as the user says it."""

    target: str
    positive: str | None = None
    weights: str | None = None
    offset: str | None = None
    clusters: tuple[str, ...] = ()
    choices: Choices = field(default_factory=Choices)
    missing: str = "drop"
    strict: bool = False
    # Whether there is a maximum where classes separate, and the options with which there is one.
    always_maximum: bool = False
    ways_out: tuple[str, ...] = ()
    # The right side of a formula, and the columns it needs, which `choices` names as well.
    formula: str | None = None
    variables: Variables | None = None

    @property
    def used(self) -> list[str]:
        """Names of the columns that are no variables."""
        names = (self.target, self.weights, self.offset, *self.clusters)
        return [name for name in names if name is not None]


@dataclass
class Data:
    """What is fitted, and what became of the table."""

    X: Array
    y: Array
    weight: Array | None
    offset: Array | None
    clusters: Array | None  # numbers of the rows' clusters, a column each way
    features: list[Feature]
    classes: tuple[Label, Label]
    rows: int  # of the table
    missing: dict[str, int]  # missing cells by column
    left_out: dict[str, str]  # columns and levels without a coefficient, and why
    formula: Formula | None = None

    @property
    def intercept(self) -> bool:
        """Whether a constant is added to the logits."""
        return self.formula is None or self.formula.intercept

    @property
    def names(self) -> list[str]:
        """Names of the columns of the matrix."""
        if self.formula is not None:
            return list(self.formula.columns)
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
    try:
        labels, known, classes = target_of(table, request.target, request.positive)
    except TableError as error:
        problems.append(said_of(source, error))
    beside = _beside(table, request, problems)
    reading = read_columns(table, request.used, request.choices)
    problems += reading.problems
    if request.strict:
        problems += [_strictly(name, why) for name, why in reading.left_out.items()]
    elif request.formula is not None:
        problems += [_needed(name, why) for name, why in reading.left_out.items()]
    fail(source, problems)
    if not reading.features:
        raise _no_column(source, reading.left_out)
    missing = {request.target: int(np.count_nonzero(~known))}
    keep = known
    _keep_known(source, beside, request, keep, missing)
    told = None if request.choices.features is not None else labels
    values = _encoded(table, reading, keep, missing, told)
    if not reading.features:
        raise _no_column(source, reading.left_out)
    missing = {name: count for name, count in missing.items() if count}
    _check_missing(source, keep, missing, request)
    if request.weights is not None:
        keep &= beside[request.weights] > 0
    y = labels[keep]
    _check_classes(source, y, missing)
    usable = Usable(
        source,
        reading.features,
        {name: found if keep.all() else found[keep] for name, found in values.items()},
        y,
        {name: found[keep] for name, found in beside.items()},
        classes,
        reading.left_out,
        request.ways_out,
    )
    del values, beside
    usable.settle(request.choices.pool_rare)
    _look_at_classes(usable, request)
    if not any(feature.levels is None or feature.indicated for feature in usable.features):
        raise _no_column(source, reading.left_out)
    rows = len(usable.y)
    formula, features = None, usable.features
    if request.formula is None:
        X, features = _independent(
            _matrix(features, usable.values, rows), features, reading.left_out
        )
    else:
        X, formula = by_formula(source, request.formula, features, usable.values, reading.left_out)
    release_memory()
    if request.strict:
        fail(source, [_strictly(name, why) for name, why in reading.left_out.items()])
    return Data(
        X,
        usable.y,
        None if request.weights is None else usable.beside[request.weights],
        None if request.offset is None else usable.beside[request.offset],
        np.column_stack([usable.beside[name] for name in request.clusters])
        if request.clusters
        else None,
        features,
        classes,
        table.rows,
        missing,
        reading.left_out,
        formula,
    )


def _keep_known(
    source: Path,
    beside: dict[str, Array],
    request: Request,
    keep: Array,
    missing: dict[str, int],
) -> None:
    """Clear `keep` where a weight, an offset or a cluster is missing, and count."""
    for name, found in beside.items():
        gone = found < 0 if name in request.clusters else np.isnan(found)
        if gone.all():
            what = "cluster" if name in request.clusters else "offset"
            what = "weights" if name == request.weights else what
            raise TableError(f"{source}: column {name!r} has no values; name another for --{what}")
        missing[name] = int(np.count_nonzero(gone))
        keep &= ~gone


def _look_at_classes(usable: Usable, request: Request) -> None:
    """Leave out or refuse what has one class; refuse what a formula needs and is left out."""
    variables = request.variables
    if not request.always_maximum:
        among = None if variables is None else variables.alone
        usable.without_one_class(among, strict=request.strict)
        if variables is None:  # else the fit names the columns of the formula that separate
            usable.refuse_separation()
    if variables is not None:
        names = {feature.name for feature in usable.features}
        absent = [name for name in variables.names if name not in names]
        fail(usable.source, [_needed(name, usable.left_out[name]) for name in absent])


def _needed(name: str, why: str) -> str:
    return f"{name!r} {why}; leave it out of the formula"


def _no_column(source: Path, left_out: dict[str, str]) -> TableError:
    listed = "; ".join(f"{name!r} {why}" for name, why in left_out.items())
    return TableError(f"{source}: no column beside the target can be used: {listed}")


def _strictly(name: str, why: str) -> str:
    return f"{name!r} {why}; leave it out with --drop, or do without --strict"


def _beside(table: Table, request: Request, problems: list[str]) -> dict[str, Array]:
    """Return weights, offset (NaN is missing) and clusters (-1 is) by column; add to `problems`."""
    readers: dict[str, Callable[[Table, str], Array]] = dict.fromkeys(request.clusters, _clusters)
    if request.offset is not None:
        readers[request.offset] = _offset
    if request.weights is not None:
        readers[request.weights] = _weights
    beside = {}
    for name, read in readers.items():
        try:
            beside[name] = read(table, name)
        except TableError as error:
            problems.append(said_of(table.source, error))
    return beside


def _clusters(table: Table, name: str) -> Array:
    column = table.column(name, fitting=True)
    try:
        numbers, labels = column.codes()
    except NotImplementedError:  # what Arrow has for types that are no text
        column.refuse(f"is of type {column.values.type}", "clusters are text, numbers or dates")
    return np.where(numbers == len(labels), -1, numbers.astype(np.intp))


def _offset(table: Table, name: str) -> Array:
    return np.asarray(_beside_numbers(table, name, "offsets").numbers(), np.float64)


def _beside_numbers(table: Table, name: str, what: str) -> Column:
    """Return a column of numbers that is no variable, with the advice for it."""
    column = table.column(name, fitting=False)
    return replace(column, advice=column.advice._replace(leave_out=f"{what} are numbers"))


def _weights(table: Table, name: str) -> Array:
    column = _beside_numbers(table, name, "weights")
    weight = np.asarray(column.numbers(), np.float64)
    negative = weight < 0
    if negative.any():
        row = int(np.argmax(negative))
        column.refuse(f"is negative in {column.place(row)}", "weights are from 0 on")
    return weight


def _encoded(
    table: Table, reading: Reading, keep: Array, missing: dict[str, int], labels: Array | None
) -> dict[str, Array]:
    """Return each column in its final type; clear `keep` where one is missing, and count.

    A column that has values in rows of one class only would leave no row of the other. With
    `labels` it is left out, as what is missing there tells the class.
    """
    values = {}
    names = {feature.name for feature in reading.features}
    for name in [name for name in table.columns if name not in names]:
        del table.columns[name]
    known = keep.copy()
    for feature in list(reading.features):
        found = _small(encode(table.column(feature.name, fitting=True), feature).values)
        # What is encoded is not needed twice.
        del table.columns[feature.name]
        release_memory()
        gone = found < 0 if feature.levels is not None else np.isnan(found)
        if labels is not None and gone.any() and _has_one_class(labels[known & ~gone]):
            reading.features.remove(feature)
            reading.left_out[feature.name] = "has values in rows of one class only"
            continue
        missing[feature.name] = int(np.count_nonzero(gone))
        keep &= ~gone
        values[feature.name] = found
    return values


def _has_one_class(y: Array) -> bool:
    return int(y.sum()) in (0, len(y))


def _small(values: Array) -> Array:
    """Return numbers as float32 where that holds them exactly; codes stay as they are."""
    if values.dtype == np.int16:
        return values
    if values.dtype.kind in "iu":
        exact = max(int(values.max(initial=0)), -int(values.min(initial=0))) <= WHOLE_FLOAT32
    else:
        parts = (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
        exact = all(map(_is_float32, parts))
    return values.astype(np.float32 if exact else np.float64, copy=False)


@np.errstate(over="ignore")
def _is_float32(values: Array) -> bool:
    return bool(np.array_equal(values.astype(np.float32), values, equal_nan=True))


def missing_text(missing: dict[str, int]) -> str:
    """Return in which columns values are missing."""
    if not missing:
        return ""
    order = sorted(missing, key=lambda name: -missing[name])
    shown = ", ".join(f"{name} {missing[name]}" for name in order[:MOST_LISTED])
    more = f", and {len(order) - MOST_LISTED} more columns" if len(order) > MOST_LISTED else ""
    return f"; values are missing: {shown}{more}"


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
    if _has_one_class(y):
        counts = ", ".join(
            f"{name} {missing[name]}" for name in sorted(missing, key=lambda n: -missing[n])[:5]
        )
        rows = f"{source}: in the {len(y)} rows that can be used the target has one value"
        advice = f"; values are missing in {counts}: leave columns out with --drop"
        raise TableError(rows + (advice if counts else ""))


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
        # What Arrow has made a column of is given back before the next one takes new pages.
        del found, columns
        release_memory()
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
        if size and len(gone) == size:
            continue
        without = tuple(levels[feature.indicated[i]] for i in sorted(gone))
        changed.append(replace(feature, without=without))
    narrow = np.empty((len(X), len(kept)), X.dtype, order="F")
    for place, column in enumerate(kept):
        narrow[:, place] = X[:, column]
    return narrow, changed
