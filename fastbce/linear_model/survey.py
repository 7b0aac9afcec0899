"""Samples that arrive in chunks: what one look at all of them tells, and how each is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, NoReturn

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_X_y, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _get_feature_names, check_non_negative

from fastbce._inputs import Array

FLOATS = (np.float64, np.float32)
LABELS_AT_ONCE = 1 << 16
SHOWN_LABELS = 5


class Header(NamedTuple):
    """What all chunks have in common."""

    columns: int
    names: tuple[str, ...] | None
    weighted: bool

    def __str__(self) -> str:
        names = "" if self.names is None else f" ({', '.join(self.names)})"
        return f"{self.columns} columns{names} {'and' if self.weighted else 'without'} weights"

    def check(self, other: Header) -> None:
        """Raise unless another chunk has the same."""
        if self != other:
            raise ValueError(f"the chunks differ: this one has {other}, the first one {self}")


def checked(X: Any, y: Any, weight: Any = None) -> tuple[Header, Array, Array, Array | None] | None:
    """Return a chunk as arrays, None if it is empty; whether `X` is finite shows in a loss."""
    if np.shape(X)[:1] == (0,):
        return None
    names = _get_feature_names(X)
    y = column_or_1d(y, warn=True)
    refuse_no_labels(y)
    X, y = check_X_y(X, y, dtype=FLOATS, accept_sparse=False, ensure_all_finite=False)
    if weight is not None:
        # A chunk may have weights of 0 alone, which scikit-learn's own check refuses.
        weight = column_or_1d(
            check_array(weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight")
        )
        check_consistent_length(X, weight)
        check_non_negative(weight, "the sample weights")
    header = Header(X.shape[1], None if names is None else tuple(names), weight is not None)
    return header, X, y, weight


@dataclass(frozen=True)
class Survey:
    """What one look at all samples tells."""

    header: Header
    n: int
    dtype: np.dtype[Any]
    classes: Array
    weights: Array  # the sum for each class

    def __add__(self, other: Survey) -> Survey:
        """Join the surveys of two chunks."""
        self.header.check(other.header)
        if _is_text(self.classes) != _is_text(other.classes):
            raise ValueError(
                f"labels are text in some chunks and numbers in others: {_shown(self.classes)} "
                f"before, {_shown(other.classes)} here"
            )
        classes = np.union1d(self.classes, other.classes)
        check_two(classes)
        weights = np.zeros(len(classes))
        for part in (self, other):
            weights[np.searchsorted(classes, part.classes)] += part.weights
        dtype = np.result_type(self.dtype, other.dtype)
        return Survey(self.header, self.n + other.n, dtype, classes, weights)


def survey_of(header: Header, X: Array, y: Array, weight: Array | None) -> Survey:
    """Return the survey of one chunk."""
    classes = np.unique(y)
    if len(classes) > 2:
        check_classification_targets(y)
        check_two(classes)
    hits = [y == label for label in classes]
    weights = [np.count_nonzero(hit) if weight is None else weight[hit].sum() for hit in hits]
    return Survey(header, len(X), X.dtype, classes, np.array(weights, np.float64))


def plain(value: Any) -> Any:
    """Return a scalar of NumPy as Python's, whose text is the value alone."""
    return value.item() if isinstance(value, np.generic) else value


def _shown(values: Array) -> str:
    """Return the first values as a person would write them."""
    shown = ", ".join(repr(plain(value)) for value in values[:SHOWN_LABELS])
    return shown + (", ..." if len(values) > SHOWN_LABELS else "")


def _is_text(classes: Array) -> bool:
    return isinstance(plain(classes[0]), str | bytes)


def refuse_no_labels(y: Array, name: str = "y") -> None:
    """Raise an error that names the first label that is none: missing, infinite or a fraction."""
    if y.dtype.kind == "f":
        missing, fraction = ~np.isfinite(y), y != np.trunc(y)
        if missing.any():
            _refuse_label(y, name, int(np.argmax(missing)))
        if fraction.any():
            _refuse_fraction(y, name, int(np.argmax(fraction)))
    elif y.dtype.kind in "mM" and np.isnat(y).any():
        _refuse_label(y, name, int(np.argmax(np.isnat(y))))
    elif y.dtype.kind == "O":
        _refuse_objects(y, name)


def _refuse_objects(y: Array, name: str) -> None:
    values = y.tolist()
    try:
        # Each different label is looked at once: there are few, but for NaN.
        found = set(values)
    except TypeError:
        raise ValueError(f"{name} holds labels that are neither numbers nor text") from None
    bad = {id(value) for value in found if not _is_label(value)}
    if bad:
        _refuse_label(y, name, next(i for i, value in enumerate(values) if id(value) in bad))
    kinds = {isinstance(value, str): value for value in found}
    if len(kinds) > 1:
        raise ValueError(f"{name} mixes text and others: {kinds[True]!r} and {kinds[False]!r}")
    if any(map(_is_fraction, found)):
        _refuse_fraction(y, name, next(i for i, value in enumerate(values) if _is_fraction(value)))


def _is_label(value: Any) -> bool:
    try:
        return value is not None and bool(value == value) and abs(_real(value)) < np.inf
    except TypeError:  # pandas' NA is neither equal to itself nor not
        return False


def _real(value: Any) -> Any:
    return value if isinstance(value, Real) else 0


def _is_fraction(value: Any) -> bool:
    return bool(_real(value) % 1)


def _refuse_label(y: Array, name: str, row: int) -> NoReturn:
    raise ValueError(
        f"{name} contains {plain(y[row])!r} in row {row + 1}, which is no label; leave out "
        "the rows without one"
    )


def _refuse_fraction(y: Array, name: str, row: int) -> NoReturn:
    raise ValueError(
        f"Unknown label type: continuous. {name} contains {plain(y[row])!r} in row {row + 1}; "
        "labels are whole numbers or text"
    )


def check_two(classes: Array) -> None:
    """Raise if there are more classes than two."""
    if len(classes) > 2:
        raise ValueError(
            "Only binary classification is supported. The type of the target is multiclass: "
            f"y holds {len(classes)} classes, {_shown(classes)}"
        )


def check_both(classes: Array) -> None:
    """Raise unless there are two classes."""
    check_two(classes)
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class, {plain(classes[0])!r}, where at least 2 classes are needed; in "
            "the first call of partial_fit name them with classes="
        )


def encode(y: Any, classes: Any) -> tuple[Array, Array]:
    """Return labels of 0 and 1, and the two classes; uint8, so that one kernel serves them all."""
    y = column_or_1d(y, warn=True)
    if y.dtype.kind in "biuf" and (classes is None or np.array_equal(classes, [0, 1])):
        zeros, ones = _count(y)
        if zeros + ones == len(y) and (classes is not None or min(zeros, ones) > 0):
            hits = y if y.dtype.itemsize == 1 else y == 1
            return hits.view(np.uint8), np.array([0, 1], y.dtype) if classes is None else classes
    refuse_no_labels(y)
    if classes is None:
        check_classification_targets(y)
        classes = np.unique(y)
        check_both(classes)
    elif len(classes) != 2:
        raise ValueError(f"classes must hold two labels, got {len(classes)}")
    else:
        refuse_no_labels(np.asarray(classes), "classes")
    hits = y == classes[1]
    known = hits | (y == classes[0])
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(
            f"y holds {plain(y[row])!r} in row {row + 1}, which is not in classes {_shown(classes)}"
        )
    return hits.view(np.uint8), classes


def _count(y: Array) -> tuple[int, int]:
    """Count the labels that are 0 and 1, without an array as long as `y`."""
    zeros = ones = 0
    for start in range(0, len(y), LABELS_AT_ONCE):
        part = y[start : start + LABELS_AT_ONCE]
        zeros += int(np.count_nonzero(part == 0))
        ones += int(np.count_nonzero(part == 1))
    return zeros, ones


@dataclass(frozen=True)
class Chunked:
    """The part of :class:`fastbce.linear_model.samples.Rows` that the survey answers."""

    survey: Survey
    factors: Array | None  # of the weights, for each class

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.survey.n

    @property
    def columns(self) -> int:
        """Number of variables."""
        return self.survey.header.columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the variables."""
        return self.survey.dtype

    @property
    def weighted(self) -> bool:
        """Whether there are weights."""
        return self.survey.header.weighted or self.factors is not None

    @property
    def offset(self) -> None:
        """Chunks have no offsets."""

    @property
    def total(self) -> float:
        """Sum of the weights, or the number of samples."""
        return float(self._weights().sum())

    @property
    def positives(self) -> float:
        """Sum of the weights of the samples with label 1, or their number."""
        return float(self._weights()[1])

    def _weights(self) -> Array:
        return self.survey.weights if self.factors is None else self.survey.weights * self.factors

    def prepare(
        self, header: Header, X: Array, y: Array, weight: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """Return a chunk with labels of 0 and 1 and the final weights."""
        self.survey.header.check(header)
        labels, _ = encode(y, self.survey.classes)
        if self.factors is not None:
            factors = self.factors[labels.astype(np.intp)]
            weight = factors if weight is None else weight * factors
        return X, labels, weight
