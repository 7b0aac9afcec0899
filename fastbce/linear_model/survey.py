"""Samples that arrive in chunks: what one look at all of them tells, and how each is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_X_y, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _get_feature_names, check_non_negative

from .._validate import Array

FLOATS = (np.float64, np.float32)
LABELS_AT_ONCE = 1 << 16


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


def check_two(classes: Array) -> None:
    """Raise if there are more classes than two."""
    if len(classes) > 2:
        raise ValueError(
            "Only binary classification is supported. The type of the target is multiclass: "
            f"y holds {len(classes)} classes"
        )


def check_both(classes: Array) -> None:
    """Raise unless there are two classes."""
    check_two(classes)
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class, {classes[0]!r}, where at least 2 classes are needed; in the first "
            "call of partial_fit name them with classes="
        )


def encode(y: Any, classes: Any) -> tuple[Array, Array]:
    """Return labels of 0 and 1, and the two classes; labels that are so already are not copied."""
    y = column_or_1d(y, warn=True)
    if y.dtype.kind in "biuf" and (classes is None or np.array_equal(classes, [0, 1])):
        zeros, ones = _count(y)
        if zeros + ones == len(y) and (classes is not None or min(zeros, ones) > 0):
            return y, np.array([0, 1], y.dtype) if classes is None else classes
    if classes is None:
        check_classification_targets(y)
        classes = np.unique(y)
        check_both(classes)
    elif len(classes) != 2:
        raise ValueError(f"classes must hold two labels, got {len(classes)}")
    hits = y == classes[1]
    if np.count_nonzero(hits) + np.count_nonzero(y == classes[0]) != len(y):
        raise ValueError(f"y holds labels {np.unique(y)} that are not in classes {classes}")
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
