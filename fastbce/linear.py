"""The linear pass: loss, gradient and Hessian of ``X @ coef + intercept``, reading `X` once."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._backends import backend
from ._inputs import as_array, as_number, check_weight, float_dtypes, raise_first_bad_label
from ._linear_options import Gram
from ._outputs import as_given, check_out, overlaps
from ._typing import Array

__all__ = ["linear_bce_hessian", "linear_bce_loss_gradient"]


def linear_backend() -> ModuleType:
    """Return the module whose ``linear`` computes."""
    return backend("linear")


def linear_bce_loss_gradient(
    X: ArrayLike,
    y_true: ArrayLike,
    coef: ArrayLike,
    intercept: float = 0.0,
    *,
    sample_weight: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[float, Array, float]:
    """Mean binary cross-entropy of the logits ``X @ coef + intercept``, and its gradient.

    One pass: a block of rows gives its logits, their loss and residuals ``sigmoid(z) - y``, and
    ``residuals @ X``, while it is in the cache. `X` is read from memory once, and nothing as long
    as its columns is allocated.

    Parameters
    ----------
    X : array_like of shape (n, d)
        Rows are samples. Read in place where it is float32 or float64 with contiguous rows or
        columns, strided, read-only and memory-mapped arrays included; converted a few rows at a
        time otherwise.
    y_true : array_like of shape (n,)
        Labels in [0, 1], hard or soft, of any bool, integer or float dtype. Integers must be 0 or
        1.
    coef : array_like of shape (d,)
        Coefficients. The arithmetic is done in the wider of the dtypes of `X` and of an array
        `coef`: float64 coefficients with a float32 `X` cost little, as reading `X` takes longer.
    intercept : float, default 0.0
        Added to each logit; an array of one element will do.
    sample_weight : array_like of shape (n,), optional
        Finite, non-negative factors of the samples' losses. They do not change the divisor.
    out : ndarray of shape (d,), optional
        Array for the gradient with respect to `coef`, of the dtype computed in.

    Returns
    -------
    loss : float
        Mean over the samples.
    grad_coef : ndarray of shape (d,)
        Of the mean loss with respect to `coef`.
    grad_intercept : float
        Of the mean loss with respect to `intercept`.

    Raises
    ------
    TypeError
        If an argument is not real and numeric, or `out` has the wrong dtype.
    ValueError
        If `X` is not two-dimensional or has no rows, shapes do not match, a weight is negative or
        not finite, an integer label is not 0 or 1, or `out` is read-only or overlaps an input.

    Notes
    -----
    Logits and residuals are rounded to the dtype computed in, sums over samples are float64. The
    sums' order depends on the shape and memory order of `X` alone: the same bits for any number
    of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbce
    >>> X, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([1, 0])
    >>> loss, gradient, intercept = fastbce.linear_bce_loss_gradient(X, y, np.zeros(2))
    >>> print(f"{loss:.4f}", gradient, intercept)
    0.6931 [ 0.5  -0.75] 0.0
    """
    X, coef, weight, dtype = _checked(X, coef, sample_weight)
    shift = _as_intercept(intercept)
    y = as_array(y_true, "y_true")
    _check_rows(y, "y_true", X)
    if y.dtype.kind in "iu" and (y.min() < 0 or y.max() > 1):
        raise_first_bad_label(y, None)
    (given,) = (None,) if out is None else check_out(out, (coef.shape,), dtype)
    overlaps((given,), (X, y, weight))
    target = np.empty(coef.shape, dtype) if given is None else given
    with np.errstate(all="ignore"):
        loss, slope, _ = linear_backend().linear(X, y, weight, coef, shift, dtype)
        target[...] = slope[1:] / len(X)
    return loss / len(X), as_given(out, [target])[0], float(slope[0]) / len(X)


def linear_bce_hessian(
    X: ArrayLike,
    coef: ArrayLike,
    intercept: float = 0.0,
    *,
    sample_weight: ArrayLike | None = None,
) -> Array:
    """Hessian of the mean binary cross-entropy of the logits ``X @ coef + intercept``.

    ``A.T @ diag(w s (1 - s)) @ A / n`` with ``A = [1, X]``, ``s = sigmoid(X @ coef + intercept)``
    and the samples' weights ``w``; labels do not matter. One pass, as in
    :func:`linear_bce_loss_gradient`.

    Parameters
    ----------
    X : array_like of shape (n, d)
        Rows are samples.
    coef : array_like of shape (d,)
        Coefficients.
    intercept : float, default 0.0
        Added to each logit.
    sample_weight : array_like of shape (n,), optional
        Finite, non-negative factors of the samples' losses. They do not change the divisor.

    Returns
    -------
    ndarray of shape (d + 1, d + 1)
        Symmetric. Row and column 0 belong to the intercept, row and column ``j + 1`` to
        ``coef[j]``.

    Raises
    ------
    TypeError
        If an argument is not real and numeric.
    ValueError
        If `X` is not two-dimensional or has no rows, shapes do not match, or a weight is negative
        or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbce
    >>> X = np.array([[1.0, 2.0], [3.0, -1.0]])
    >>> print(fastbce.linear_bce_hessian(X, np.zeros(2)))
    [[ 0.25   0.5    0.125]
     [ 0.5    1.25  -0.125]
     [ 0.125 -0.125  0.625]]
    """
    X, coef, weight, dtype = _checked(X, coef, sample_weight)
    shift = _as_intercept(intercept)
    # Labels make no difference; zeros that are never written to take up no memory.
    labels = np.zeros(len(X), np.bool_)
    with np.errstate(all="ignore"):
        _, _, matrix = linear_backend().linear(
            X, labels, weight, coef, shift, dtype, Gram("hessian", dtype)
        )
        return np.asarray(matrix / len(X), dtype)


def _checked(
    X: Any, coef: Any, sample_weight: Any
) -> tuple[Array, Array, Array | None, np.dtype[Any]]:
    """Return the arrays, and the dtype to compute in."""
    rows = as_array(X, "X")
    if rows.ndim != 2:
        hint = "; for one variable use X.reshape(-1, 1)" if rows.ndim == 1 else ""
        raise ValueError(f"X must have two axes (samples, variables), got shape {rows.shape}{hint}")
    if not len(rows):
        raise ValueError(f"X has shape {rows.shape}: there is no sample to take the mean of")
    factors = as_array(coef, "coef")
    if factors.shape != rows.shape[1:]:
        hint = "; use coef.ravel()" if factors.size == rows.shape[1] else ""
        raise ValueError(
            f"coef has shape {factors.shape}, but X with shape {rows.shape} needs one coefficient "
            f"a column: {rows.shape[1:]}{hint}"
        )
    weight = None
    if sample_weight is not None:
        weight = check_weight(sample_weight, (len(rows),))
    dtype = float_dtypes(rows)[0]
    if isinstance(coef, np.ndarray) and factors.dtype.kind == "f":
        dtype = np.result_type(dtype, float_dtypes(factors)[0])
    return rows, factors, weight, dtype


def _as_intercept(intercept: Any) -> float:
    hint = "; an offset of each row can be one more column of X, with the coefficient 1"
    return as_number(intercept, "intercept", hint)


def _check_rows(values: Array, name: str, X: Array) -> None:
    if values.shape != (len(X),):
        hint = f": use {name}.ravel()" if values.size == len(X) else ""
        raise ValueError(
            f"{name} has shape {values.shape}, but X with shape {X.shape} needs {(len(X),)}{hint}"
        )
