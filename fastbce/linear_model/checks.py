"""What guards the estimator: its parameters, its state when a call fails, sums that overflow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from sklearn.utils import assert_all_finite, check_random_state

from fastbce.inference import COV_TYPES, WEIGHT_KINDS

from .coordinates import parts
from .messages import warn
from .robust import Wanted

if TYPE_CHECKING:
    from fastbce._typing import Array

    from .samples import Rows

SOLVERS = ("auto", "newton", "lbfgs")
# Of scikit-learn: other ways to the same minimum.
OTHER_SOLVERS = ("newton-cg", "newton-cholesky", "liblinear", "sag", "saga")
PENALTIES = ("l2", None, "firth")
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


class Settings(NamedTuple):
    """What the parameters of an estimator come to."""

    C: float
    firth: bool
    solver: str


def settings_of(model: Any) -> Settings:
    """Return what the parameters of an estimator come to, after :func:`check_parameters`."""
    solver = "auto" if model.solver in OTHER_SOLVERS else model.solver
    return Settings(model.C if model.penalty == "l2" else np.inf, model.penalty == "firth", solver)


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
    if model.cov_type not in COV_TYPES:
        raise ValueError(f"unknown cov_type {model.cov_type!r}; choose one of {list(COV_TYPES)}")
    if model.weight_kind not in WEIGHT_KINDS:
        raise ValueError(
            f"unknown weight_kind {model.weight_kind!r}; choose one of {list(WEIGHT_KINDS)}"
        )
    _check_penalty(model)
    _check_solver(model)
    jobs: Any = model.n_jobs
    if jobs is not None and (not isinstance(jobs, Integral) or jobs == 0):
        raise ValueError(f"n_jobs must be None or a whole number but 0, got {jobs!r}")
    # No solver here is random; what scikit-learn would not take is an error all the same.
    check_random_state(model.random_state)


def _check_penalty(model: Any) -> None:
    if model.penalty not in PENALTIES:
        hint = ""
        if model.penalty in ("l1", "elasticnet"):
            hint = "; scikit-learn's LogisticRegression(solver='saga') has L1 penalties"
        raise ValueError(
            f"unknown penalty {model.penalty!r}; choose one of {list(PENALTIES)}{hint}"
        )
    ratio = model.l1_ratio
    if ratio is not None and (isinstance(ratio, bool) or ratio != 0):
        raise ValueError(
            f"l1_ratio must be None or 0, got {ratio!r}: there is no L1 penalty here; "
            "scikit-learn's LogisticRegression(solver='saga') has one"
        )
    if model.penalty != "l2" and np.isfinite(model.C) and model.C != 1.0:
        warn(f"penalty={model.penalty!r} has no strength: C={model.C:g} is ignored", UserWarning)
    if model.penalty == "firth" and (model.cov_type, model.weight_kind) != (
        "nonrobust",
        "frequency",
    ):
        raise ValueError(
            f"cov_type={model.cov_type!r} with weight_kind={model.weight_kind!r}, but Firth's "
            "method has 'nonrobust' with 'frequency' alone"
        )


def _check_solver(model: Any) -> None:
    if model.solver in OTHER_SOLVERS:
        other = " (liblinear would penalise the intercept too)" * (model.solver == "liblinear")
        warn(
            f"solver={model.solver!r} is scikit-learn's; solver='auto' minimises the same "
            f"objective{other}",
            UserWarning,
        )
    elif model.solver not in SOLVERS:
        raise ValueError(
            f"unknown solver {model.solver!r}; choose one of {[*SOLVERS, *OTHER_SOLVERS]}"
        )


def wanted_of(model: Any, clusters: Array | None, *, weighted: bool) -> Wanted:
    """Return which covariance an estimator is to give.

    Raises
    ------
    ValueError
        If clusters are missing or of no use, or the covariance is not one of the weights' kind.
    """
    if (model.cov_type == "cluster") != (clusters is not None):
        if clusters is None:
            raise ValueError(
                "cov_type='cluster' needs the clusters of samples in memory: "
                "fit(X, y, clusters=...) with a label for each row, or two columns of them"
            )
        raise ValueError(
            f"clusters were passed, but cov_type={model.cov_type!r}; set cov_type='cluster'"
        )
    if weighted and model.weight_kind == "sampling" and model.cov_type == "nonrobust":
        raise ValueError(
            "cov_type='nonrobust' does not hold with sampling weights; choose 'HC0', 'HC1', 'HC2', "
            "'HC3' or 'cluster'"
        )
    return Wanted(model.cov_type, model.weight_kind, clusters)


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
