"""Weights of the samples, and factors of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from fastbce._inputs import Array

from .inputs import as_numpy

NO_WEIGHT = "all sample weights are 0: there is nothing to fit"


def sample_weights(X: Any, sample_weight: Any) -> Array:
    """Return what was passed, or ones, as an array that is not negative."""
    weight: Array = _check_sample_weight(
        as_numpy(sample_weight, "sample_weight"), X, dtype=np.float64, ensure_non_negative=True
    )
    return weight


def weights_of(model: Any, X: Array, labels: Array, sample_weight: Any) -> Array | None:
    """Return the final weights of samples, None where all are 1."""
    if sample_weight is None and model.class_weight is None:
        return None
    weight = sample_weights(X, sample_weight)
    if model.class_weight is not None:
        which = labels.astype(np.intp)
        weight = weight * factors_of(model, np.bincount(which, weight, 2))[which]
    if not weight.any():
        raise ValueError(NO_WEIGHT)
    return np.asarray(weight)


def factors_of(model: Any, weights: Array) -> Array:
    """Return the factors of the classes by `class_weight`, from the sums of their weights."""
    if isinstance(model.class_weight, str) and model.class_weight == "balanced":
        # A class without weight counts for nothing, whatever its factor.
        factors: Array = np.zeros(2)
        np.divide(weights.sum(), 2 * weights, factors, where=weights > 0)
        return factors
    return np.asarray(
        compute_class_weight(model.class_weight, classes=model.classes_, y=model.classes_)
    )
