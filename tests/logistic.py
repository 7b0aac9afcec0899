"""Samples that follow a logistic regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cases import Array


def logistic(
    rng: np.random.Generator,
    n: int = 300,
    d: int = 3,
    *,
    coef: npt.ArrayLike = (1.0,),
    intercept: float = 0.0,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[Array, Array]:
    """Draw normal columns, of which the first have these coefficients, and integer labels."""
    coef = np.asarray(coef)
    X = rng.normal(size=(n, d)).astype(dtype)
    z = X[:, : len(coef)] @ coef + intercept
    return X, (z + rng.logistic(size=n) > 0).astype(np.int64)
