"""What guards the estimator: its parameters, its state when a call fails, sums that overflow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from sklearn.utils import assert_all_finite

from fastbce.inference import COV_TYPES

from .coordinates import parts

if TYPE_CHECKING:
    from fastbce._typing import Array

    from .samples import Rows

SOLVERS = ("auto", "newton", "lbfgs")
# Squares of larger numbers are near the end of float64.
LARGE = 1e150


P = ParamSpec("P")
T = TypeVar("T")


def all_or_nothing(method: Callable[P, T]) -> Callable[P, T]:
    """Leave the estimator as it was where a method raises, and its caller's NumPy errors alone."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        state: dict[str, Any] = args[0].__dict__
        before = dict(state)
        try:
            with np.errstate(all="ignore"):
                return method(*args, **kwargs)
        except BaseException:
            state.clear()
            state.update(before)
            raise

    return guarded


def check_parameters(model: Any) -> None:
    """Raise ValueError, as scikit-learn's own estimators do, for a parameter of no use."""
    for name, kind in (("C", Real), ("tol", Real), ("max_iter", Integral)):
        value: Any = getattr(model, name)
        valid = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
        if not valid or not value > 0 or (name == "tol" and not np.isfinite(value)):
            what = "integer" if kind is Integral else "number"
            raise ValueError(f"{name} must be a positive {what}, got {value!r}")
    for name in ("fit_intercept", "warm_start"):
        value = getattr(model, name)
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {value!r}")  # noqa: TRY004
    if model.solver not in SOLVERS:
        raise ValueError(f"unknown solver {model.solver!r}; choose one of {list(SOLVERS)}")
    if model.cov_type not in COV_TYPES:
        raise ValueError(f"unknown cov_type {model.cov_type!r}; choose one of {list(COV_TYPES)}")


def overflow_error(rows: Rows, names: list[str], estimator: str) -> ValueError:
    """Return the error for sums of squares that overflow, with the values it was.

    Raises
    ------
    ValueError
        If the values are not finite themselves.
    """
    rows.reduce(partial(_check_finite, name=estimator))
    most = rows.reduce(_largest, np.maximum)
    large = [f"{names[i]} ({most[i]:.3g})" for i in np.flatnonzero(most > LARGE)]
    return ValueError(
        "the values of X are too large for float64: squares and sums of them overflow. The "
        f"largest of columns: {', '.join(large[:10]) or 'below 1e150'}. Replace codes for "
        "missing values, or change the unit"
    )


def _check_finite(X: Array, _y: Array, _weight: Array | None, name: str) -> tuple[()]:
    assert_all_finite(X, input_name="X", estimator_name=name)
    return ()


def _largest(X: Array, _y: Array, _weight: Array | None) -> Array:
    """Return the largest size of each column."""
    most = np.zeros(X.shape[1])
    for part in parts(X):
        most = np.maximum(most, np.abs(X[part]).max(axis=0))
    return most
